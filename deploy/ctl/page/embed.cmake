# SPDX-License-Identifier: Apache-2.0
# Writes OUT, a C file with the NUL-terminated text of each file of IN (a list joined by "|") as const char page_NAME[], NAME being
# the file's name with _ for dots. usage: cmake -DIN=A|B -DOUT=FILE.c -P embed.cmake
string(REPLACE "|" ";" files "${IN}")
set(code "// Made by embed.cmake: texts of the pages agrlctl writes.\n")
foreach(file ${files})
  get_filename_component(name ${file} NAME)
  string(REPLACE "." "_" name ${name})
  file(READ ${file} hex HEX)
  string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${hex}")
  string(APPEND code "extern const char page_${name}[];\nconst char page_${name}[] = {${bytes}0};\n")
endforeach()
file(WRITE ${OUT} "${code}")
