// SPDX-License-Identifier: GPL-2.0-only
import { ROOT } from '../base/root.ts'
import { quote } from '../base/quote.ts'
import { VARIABLES } from '../build/context.ts'
import { commandNames } from '../cli.ts'
import type { Command } from '../command.ts'

const command: Command = {
  summary: "print what makes bash complete this project's commands and variables",
  help: `In this checkout, "make" is completed by commands and variables; elsewhere as before:
  eval "$(make -s completion)"`,
  async run() {
    const words = [...commandNames(), ...Object.keys(VARIABLES).map((name) => `${name}=`)]
    process.stdout.write(`_lvs_snat_before=$(complete -p make 2>/dev/null | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p')
_lvs_snat_make() {
  if [ "$PWD" != ${quote(ROOT)} ]; then
    [ -z "$_lvs_snat_before" ] || "$_lvs_snat_before" "$@"
    return
  fi
  COMPREPLY=($(compgen -W ${quote(words.join(' '))} -- "\${COMP_WORDS[COMP_CWORD]}"))
  case $COMPREPLY in *=) compopt -o nospace ;; esac
}
complete -o default -F _lvs_snat_make make
`)
  },
}
export default command
