# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# bash completion of agrlctl: commands, options, and their values; configuration keys come from `agrlctl config dump`.

_agrlctl_commands='up down status scale top logs eval report sbs config rules doctor replay traces data model experiment version help'
_agrlctl_job='--run-dir --config --help'

# _agrlctl_options COMMAND: its options
_agrlctl_options() {
  case $1 in
    up) echo '--config --data --eval --rules --run-dir --actors --set --detach --no-eval --help' ;;
    down) echo "$_agrlctl_job --timeout" ;;
    status) echo "$_agrlctl_job -o" ;;
    scale | doctor) echo "$_agrlctl_job" ;;
    top) echo "$_agrlctl_job --interval --once" ;;
    logs) echo "$_agrlctl_job -f -n" ;;
    eval) echo "$_agrlctl_job --checkpoint --data --dev --samples --seed --limit --label" ;;
    report) echo "$_agrlctl_job --evaluate -q" ;;
    sbs) echo "$_agrlctl_job --items --seed --split --out --grades --key -o" ;;
    config) echo '--help-text --help' ;;
    rules) echo "$_agrlctl_job --rules --data --row -o" ;;
    replay) echo "$_agrlctl_job --state --limit --out -o" ;;
    traces) echo "$_agrlctl_job -o --limit" ;;
    data) echo '--out --seed --train --eval --natural --reference --departments --leaves --synonyms --help' ;;
    experiment) echo '--out --table -o --help' ;;
    model) echo '--dtype --adapter --system --max-new --threads -o --help' ;;
  esac
}

# _agrlctl_keys PROGRAM: section.key, one a line
_agrlctl_keys() {
  local line section=''
  while IFS= read -r line; do
    case $line in
      [a-z]*:*) section=${line%%:*} ;;
      '  '[a-z]*:* | '  # '[a-z]*:*) line=${line#  } && line=${line#\# } && printf '%s.%s\n' "$section" "${line%%:*}" ;;
    esac
  done < <("$1" config dump 2>/dev/null)
}

# The run directory of the command line so far, as agrlctl would find it (without reading a --config file).
_agrlctl_run_dir() {
  local i
  for ((i = 1; i < COMP_CWORD; i++)); do
    [[ ${COMP_WORDS[i]} == --run-dir ]] || continue
    [[ ${COMP_WORDS[i + 1]} == '=' ]] && i=$((i + 1))
    echo "${COMP_WORDS[i + 1]/#\~\//$HOME/}"
    return
  done
  echo "${AGRL_RUN_DIR:-agrl-run}"
}

_agrlctl_services() {
  local log found=''
  for log in "$(_agrlctl_run_dir)"/logs/*.log; do
    [[ -e $log ]] || continue
    log=${log##*/}
    found+=" ${log%.log}"
  done
  echo "${found:-reward replay learner actor-0 actor-1 supervisor}"
}

_agrlctl_checkpoints() {
  local dir
  for dir in "$(_agrlctl_run_dir)"/checkpoints/*/; do
    [[ -e $dir ]] && basename "$dir"
  done
}

# _agrlctl_word COMMAND: completes a word that is no option and no option's value
_agrlctl_word() {
  local verb=${words[0]-}
  case $1 in
    '') mapfile -t COMPREPLY < <(compgen -W "$_agrlctl_commands" -- "$cur") ;;
    help) [[ -z $verb ]] && mapfile -t COMPREPLY < <(compgen -W "${_agrlctl_commands% version help}" -- "$cur") ;;
    scale) [[ -z $verb ]] && mapfile -t COMPREPLY < <(compgen -W actors -- "$cur") ;;
    logs) [[ -z $verb ]] && mapfile -t COMPREPLY < <(compgen -W "$(_agrlctl_services)" -- "$cur") ;;
    rules)
      if [[ -z $verb ]]; then mapfile -t COMPREPLY < <(compgen -W 'check explain' -- "$cur")
      elif [[ -z ${words[1]-} ]]; then mapfile -t COMPREPLY < <(compgen -f -- "$cur") && compopt -o filenames 2>/dev/null; fi ;;
    sbs)
      [[ -n ${words[1]-} ]] && return
      mapfile -t COMPREPLY < <(compgen -W "$(_agrlctl_checkpoints)" -- "$cur"; compgen -f -X '!*.jsonl' -- "$cur")
      compopt -o filenames 2>/dev/null ;;
    data) [[ -z $verb ]] && mapfile -t COMPREPLY < <(compgen -W make -- "$cur") ;;
    replay) [[ -z $verb ]] && mapfile -t COMPREPLY < <(compgen -W 'ls show export' -- "$cur") ;;
    model)
      if [[ -z $verb ]]; then mapfile -t COMPREPLY < <(compgen -W 'import export inspect chat' -- "$cur")
      elif [[ $verb != chat || -z ${words[1]-} ]]; then mapfile -t COMPREPLY < <(compgen -f -- "$cur") && compopt -o filenames 2>/dev/null; fi ;;
    experiment) [[ -z $verb ]] && mapfile -t COMPREPLY < <(compgen -f -- "$cur") && compopt -o filenames 2>/dev/null ;;
    config)
      if [[ -z $verb ]]; then mapfile -t COMPREPLY < <(compgen -W 'check dump' -- "$cur")
      else mapfile -t COMPREPLY < <(compgen -f -- "$cur") && compopt -o filenames 2>/dev/null; fi ;;
  esac
}

# _agrlctl_value COMMAND OPTION: completes an option's value; fails when the option takes none
_agrlctl_value() {
  case $2 in
    --set)
      mapfile -t COMPREPLY < <(compgen -W "$(_agrlctl_keys "${COMP_WORDS[0]}")" -S = -- "$cur")
      compopt -o nospace 2>/dev/null ;;
    --run-dir) mapfile -t COMPREPLY < <(compgen -d -- "$cur") && compopt -o filenames 2>/dev/null ;;
    --checkpoint)
      mapfile -t COMPREPLY < <(compgen -W "$(_agrlctl_checkpoints)" -- "$cur"; compgen -d -- "$cur")
      compopt -o filenames 2>/dev/null ;;
    --state) mapfile -t COMPREPLY < <(compgen -W 'open climb ready leased trained retired' -- "$cur") ;;
    -o)
      if [[ $1 == traces ]]; then mapfile -t COMPREPLY < <(compgen -f -- "$cur") && compopt -o filenames 2>/dev/null
      else mapfile -t COMPREPLY < <(compgen -W 'json text' -- "$cur"); fi ;;
    --dtype) mapfile -t COMPREPLY < <(compgen -W 'bf16 f32' -- "$cur") ;;
    --eval)
      [[ $1 == data ]] && return 0
      mapfile -t COMPREPLY < <(compgen -f -- "$cur") && compopt -o filenames 2>/dev/null ;;
    --config | --data | --dev | --rules | --out | --grades | --key)
      mapfile -t COMPREPLY < <(compgen -f -- "$cur") && compopt -o filenames 2>/dev/null ;;
    --actors | --timeout | --interval | -n | --limit | --row | --label | --samples | --items | --split | --seed | --train | --natural | --reference | --departments | --leaves | --synonyms | --system | --max-new | --threads) ;;
    *) return 1 ;;
  esac
  return 0
}

_agrlctl() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' i
  local -a words=()
  COMPREPLY=()
  # bash splits at =: "--run-dir=x" is three words
  if [[ $cur == '=' ]]; then cur=''
  elif [[ $prev == '=' ]]; then prev=${COMP_WORDS[COMP_CWORD - 2]}; fi
  # the command, and the words after it that are neither options nor their values
  for ((i = 1; i < COMP_CWORD; i++)); do
    case ${COMP_WORDS[i]} in
      -o | -n | --config | --data | --dev | --eval | --rules | --run-dir | --actors | --set | --timeout | --interval | --checkpoint | \
        --limit | --label | --samples | --items | --split | --grades | --key | --state | --out | --seed | --train | --natural | --reference | --departments | --leaves | --synonyms | \
        --dtype | --system | --max-new | --threads | --row)
        [[ ${COMP_WORDS[i + 1]-} == '=' ]] && i=$((i + 1))
        i=$((i + 1)) ;;
      -* | '=') ;;
      *) if [[ -z $command ]]; then command=${COMP_WORDS[i]}; else words+=("${COMP_WORDS[i]}"); fi ;;
    esac
  done
  if [[ -n $command && $prev == -* ]] && _agrlctl_value "$command" "$prev"; then return; fi
  if [[ $cur == -* ]]; then mapfile -t COMPREPLY < <(compgen -W "$(_agrlctl_options "$command")" -- "$cur")
  else _agrlctl_word "$command"; fi
}

complete -F _agrlctl agrlctl
