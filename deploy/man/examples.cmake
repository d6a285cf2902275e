# SPDX-License-Identifier: Apache-2.0
# Writes OUT from the man page IN: each line @EXAMPLE FILE@ becomes the text of ETC/FILE, without its licence line, as roff.
# usage: cmake -DIN=PAGE.in -DOUT=PAGE -DETC=DIR -P examples.cmake
file(READ ${IN} page)
string(REGEX MATCHALL "@EXAMPLE [^@]*@" marks "${page}")
foreach(mark ${marks})
  string(REGEX REPLACE "@EXAMPLE (.*)@" "\\1" name "${mark}")
  file(READ ${ETC}/${name} text)
  string(REGEX REPLACE "^# SPDX[^\n]*\n" "" text "${text}")
  string(REPLACE "\\" "\\e" text "${text}")
  string(REPLACE "-" "\\-" text "${text}")
  string(REPLACE "'" "\\(aq" text "${text}")
  string(REPLACE "`" "\\(ga" text "${text}")
  string(REGEX REPLACE "(^|\n)\\." "\\1\\\\&." text "${text}")
  string(REPLACE "${mark}\n" "${text}" page "${page}")
endforeach()
file(WRITE ${OUT} "${page}")
