// SPDX-License-Identifier: GPL-2.0-only
/** What programs that this tool calls have of its caller's environment. */

/**
 * Who calls, where programs and temporary files are, and how networks, keys and containers are reached. LD_LIBRARY_PATH may be
 * part of how a host's compiler runs, and is of fakeroot.
 */
const INHERITED: ReadonlySet<string> = new Set([
  'PATH', 'HOME', 'USER', 'LOGNAME', 'SHELL', 'TERM', 'COLORTERM', 'NO_COLOR', 'COLUMNS', 'CI', 'LANG', 'LANGUAGE', 'TZ', 'TMPDIR',
  'HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'ALL_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'ftp_proxy', 'all_proxy', 'no_proxy',
  'SSL_CERT_FILE', 'SSL_CERT_DIR', 'CURL_CA_BUNDLE', 'APT_CONFIG', 'GNUPGHOME', 'SSH_AUTH_SOCK', 'DBUS_SESSION_BUS_ADDRESS',
  'DOCKER_HOST', 'CONTAINER_HOST', 'CONTAINERS_CONF', 'REGISTRY_AUTH_FILE',
  'LD_LIBRARY_PATH', 'LD_PRELOAD', 'FAKEROOTKEY', 'FAKED_MODE',
])

/** Those of languages, of the folders of users, and of Node and npm. */
const FAMILIES = /^(LC|XDG|NODE|npm|NPM)_/

/**
 * A shell may have ARCH, CROSS_COMPILE, KCFLAGS, TAR_OPTIONS or CDPATH of another project's; with DEBUG=1 tools/lib/subcmd/Makefile of
 * Linux compiles objtool with -O0; make tells those below it of its own flags. No list of what to leave out is ever complete.
 *
 * @returns what of the caller's environment does not decide what programs make
 */
export function callersEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => INHERITED.has(name) || FAMILIES.test(name)))
}
