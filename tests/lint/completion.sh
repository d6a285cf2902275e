#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# bash completion and man page of agrlctl against the program: every command of its table and every option of its help is in
# both, completion offers nothing else, and some completions come out right. usage: completion.sh SOURCE_DIR BUILD_DIR
set -u
source_dir=${1:?usage: completion.sh SOURCE_DIR BUILD_DIR} build=${2:?usage: completion.sh SOURCE_DIR BUILD_DIR}
cd "$source_dir" || exit 66
# shellcheck source=deploy/completion/agrlctl.bash
. deploy/completion/agrlctl.bash || exit 1
ctl=$build/bin/agrlctl
page=$(sed 's/\\-/-/g' deploy/man/agrlctl.1)
rc=0
complain() { echo "$*"; rc=1; }

# completions WORD...: what completing the last word gives, on one line
completions() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _agrlctl
  printf '%s\n' "${COMPREPLY[*]-}"
}
expect() {  # expect WANTED WORD...
  local want=$1 got
  shift
  got=$(completions "$@")
  [ "$got" = "$want" ] || complain "completing '$*': '$got', expected '$want'"
}
has() {  # has WANTED WORD...
  local want=$1 got
  shift
  got=$(completions "$@")
  [[ " $got " == *" $want "* ]] || complain "completing '$*': '$got' lacks '$want'"
}

# commands: the table's order is that of ctl_cmd_* in main.c
commands=$(grep -o '&ctl_cmd_[a-z]*' deploy/ctl/main.c | sed 's/.*_//')
[ "$(wc -w <<<"$commands")" -ge 10 ] || complain "deploy/ctl/main.c: its command table is not where this test looks"
[ "$("$ctl" help | awk '/^  [a-z]/ { print $1 }' | sort | xargs)" = "$(completions agrlctl '' | xargs -n 1 | sort | xargs)" ] ||
  complain "completion's commands are not those of agrlctl help"
for command in $commands; do
  has "$command" agrlctl ''
  grep -q "^\.SS \"$command: " <<<"$page" || complain "deploy/man/agrlctl.1:1: has no section on $command"
  section=$(awk -v head=".SS \"$command: " 'index($0, ".S") == 1 { on = index($0, head) == 1 } on' <<<"$page")
  usage=$("$ctl" help "$command")
  documented=$(grep -oE -e '(^|[^a-z-])-(-[a-z][a-z-]*|[a-z])\b' <<<"$usage" | grep -oE -e '-.*' | sort -u)
  offered=$(_agrlctl_options "$command")
  for option in $documented; do
    [[ " $offered " == *" $option "* ]] || complain "completion of $command: lacks $option"
    case $option in --run-dir | --config | --help) continue ;; esac
    grep -qF -e "$option" <<<"$section" || complain "deploy/man/agrlctl.1:1: section $command says nothing of $option"
  done
  for option in $offered; do
    [ "$option" = --help ] || grep -qxF -e "$option" <<<"$documented" || [[ $option =~ ^--(run-dir|config)$ && $usage == *--run-dir* ]] ||
      complain "completion of $command: $option is not in its help"
  done
done

run=$(mktemp -d) || exit 70
trap 'rm -rf "$run"' EXIT
mkdir -p "$run/logs" "$run/checkpoints/sft" "$run/checkpoints/latest"
touch "$run/logs/learner.log" "$run/logs/actor-7.log"
expect 'status' agrlctl stat
expect 'actors' agrlctl scale ''
expect '--actors' agrlctl up --ac
expect 'actor-7 learner' agrlctl logs --run-dir "$run" ''
expect 'actor-7' agrlctl logs --run-dir = "$run" a
expect 'sft' agrlctl eval --run-dir "$run" --checkpoint s
expect 'sft' agrlctl sbs --run-dir "$run" s
expect 'latest' agrlctl sbs --run-dir "$run" --items 5 sft la
expect '' agrlctl sbs --run-dir "$run" sft latest s
expect 'json' agrlctl status -o j
expect "$run/logs" agrlctl traces -o "$run/l"
expect 'trained' agrlctl replay ls --state t
expect 'ls' agrlctl replay l
expect '' agrlctl replay ls l
expect 'explain' agrlctl rules e
expect "$run/logs" agrlctl rules check "$run/l"
expect 'import' agrlctl model im
expect 'f32' agrlctl model import a b --dtype f
expect '' agrlctl data make --eval ''
expect 'report replay' agrlctl help rep
expect "$run/logs" agrlctl up --run-dir "$run/l"
expect 'replay.tau=' "$ctl" up --set replay.tau
for key in run.seed grpo.group_size obs.log_level; do has "$key=" "$ctl" up --set ''; done
[ "$("$ctl" config dump | grep -cE '^  (# )?[a-z]')" = "$(_agrlctl_keys "$ctl" | wc -l)" ] || complain "completion does not offer every configuration key"
AGRL_RUN_DIR=$run expect 'actor-7 learner' agrlctl logs ''
exit $rc
