// SPDX-License-Identifier: GPL-2.0-only
/** Small source packages of Debian, and packages that stand for what is built of them. */

import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { tarball } from './fixture.ts'

export const FILE = 'main.c'
const LINES = Array.from({ length: 20 }, (_, index) => `int line_${index + 1};`)

/** A patch in git format-patch form that changes one numbered line of the source. @param before what it takes the line before for */
export function linePatch(line: number, before = LINES[line - 2]): string {
  const around = [LINES[line - 3], before, LINES[line], LINES[line + 1]].map((text) => ` ${text}\n`)
  return `From 0000000000000000000000000000000000000000 Mon Sep 17 00:00:00 2001
From: A Writer <a.writer@example.org>
Subject: [PATCH] change line ${line}

---
diff --git a/${FILE} b/${FILE}
--- a/${FILE}
+++ b/${FILE}
@@ -${line - 2},5 +${line - 2},5 @@
${around[0]}${around[1]}-${LINES[line - 1]}
+int ours_${line};
${around[2]}${around[3]}`
}

/** Debian's own patch, which changes line 3. */
const DEBIANS = `Description: Debian's own
--- a/${FILE}
+++ b/${FILE}
@@ -1,5 +1,5 @@
 int line_1;
 int line_2;
-int line_3;
+int debians_3;
 int line_4;
 int line_5;
`

/** What Debian's script of SysV init for ipvsadm does with the table; how the sync daemon is started is left out. */
const INIT = `#!/bin/sh
. /lib/lsb/init-functions
IPVSADM="/usr/sbin/ipvsadm"
IPVSADM_RULES="/etc/ipvsadm.rules"
IPVSADM_CONFIG="/etc/default/ipvsadm"

flush () {
    log_action_begin_msg "Clearing the current IPVS table"
    ipvsadm -C || log_action_end_msg 1
    log_action_end_msg 0
}

load () {
    log_action_begin_msg "Loading IPVS configuration"
    grep -v "^#" $IPVSADM_RULES | $IPVSADM -R || log_action_end_msg 1
    log_action_end_msg 0
}

if [ ! -f $IPVSADM_RULES ]; then
    echo "# ipvsadm.rules" > $IPVSADM_RULES
fi

case "$1" in
    start|restart|reload)
	if [ "$AUTO" = "true" ]; then
	    flush
	    load
	fi
	;;
    stop)
	if [ "$AUTO" = "true" ]; then
	    flush
	fi
	;;
    load)
	flush
	load
	;;
esac
exit 0
`

/** What Debian 12 has for the table of ipvsadm, and Debian 13 beside that. */
export const SYSV = { 'ipvsadm.init': INIT, 'ipvsadm.default': 'AUTO="false"\n' }
const UNIT = { 'ipvsadm-load': '#!/bin/sh\n$IPVSADM -C\ngrep -v "^#" $IPVSADM_RULES | $IPVSADM -R\n', 'ipvsadm-flush': '#!/bin/sh\n$IPVSADM -C\n' }

/** @returns what Debian's packaging of a version of ipvsadm has for its table */
const services = (version: string): Record<string, string> => (version.endsWith('1.31-1') ? SYSV : { ...SYSV, ...UNIT })

/**
 * Makes a source package by dpkg-source, with a patch of Debian's.
 *
 * @param version of the package: "1:1.31-5"
 * @returns path of the archive of its files, as `make deb` takes it
 */
export function debianSource(folder: string, name: string, version: string, format = '3.0 (quilt)'): string {
  const file = `${name}_${version.replace(/^\d+:/, '')}`
  const top = join(folder, `${file}-files`)
  const upstream = file.replace(/-[^-]*$/, '')
  mkdirSync(top, { recursive: true })
  tarball(top, `${upstream}.orig.tar.gz`, { [FILE]: `${LINES.join('\n')}\n` })
  const source = join(top, `${upstream}.orig`)
  const packaging: Record<string, string> = {
    changelog: `${name} (${version}) unstable; urgency=medium\n\n  * As Debian has it.\n\n -- A Packager <packager@example.org>  Sat, 18 Jan 2025 13:16:49 +0000\n`,
    control: `Source: ${name}\nMaintainer: A Packager <packager@example.org>\nStandards-Version: 4.7.0\n\nPackage: ${name}\nArchitecture: any\nDescription: A tool\n`,
    'source/format': `${format}\n`,
    'patches/series': "# Debian's\ndebian.patch",
    'patches/debian.patch': DEBIANS,
    [`${name}.manpages`]: `${name}.8`,
    [`${name}.install`]: `${name} usr/sbin\n`,
    rules: '#!/usr/bin/make -f\n',
    ...(name === 'ipvsadm' ? services(version) : {}),
  }
  for (const [path, content] of Object.entries(packaging)) {
    mkdirSync(dirname(join(source, 'debian', path)), { recursive: true })
    writeFileSync(join(source, 'debian', path), content, { mode: 0o755 })
  }
  execFileSync('dpkg-source', ['--build', source], { cwd: top, stdio: 'ignore' })
  rmSync(source, { recursive: true })
  const archive = join(folder, `${file}.source.tar.xz`)
  execFileSync('tar', ['--create', '--auto-compress', '--file', archive, '--directory', top, ...readdirSync(top)])
  return archive
}

/** Makes a package with nothing in it. @returns its path */
export function emptyDeb(folder: string, name: string, version: string): string {
  const root = join(folder, `${name}-root`)
  mkdirSync(join(root, 'DEBIAN'), { recursive: true })
  writeFileSync(join(root, 'DEBIAN/control'), `Package: ${name}\nVersion: ${version}\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: A tool\n`)
  const deb = join(folder, `${name}_${version.replace(/^\d+:/, '')}_amd64.deb`)
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', root, deb], { stdio: 'ignore' })
  rmSync(root, { recursive: true })
  return deb
}
