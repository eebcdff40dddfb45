// SPDX-License-Identifier: GPL-2.0-only
/** All end-to-end suites, in the order in which they run: from the plain to the violent. */

import both from './both.ts'
import change from './change.ts'
import exhaustion from './exhaustion.ts'
import fastpath from './fastpath.ts'
import firewall from './firewall.ts'
import fragments from './fragments.ts'
import fuzz from './fuzz.ts'
import gatewayErrors from './gateway-errors.ts'
import hairpin from './hairpin.ts'
import icmp from './icmp.ts'
import inject from './inject.ts'
import ipvsadm from './ipvsadm.ts'
import keepalived from './keepalived.ts'
import type { Suite } from './lib/suite.ts'
import limits from './limits.ts'
import load from './load.ts'
import mapping from './mapping.ts'
import metrics from './metrics.ts'
import namespaces from './namespaces.ts'
import nat from './nat.ts'
import offload from './offload.ts'
import operating from './operating.ts'
import ports from './ports.ts'
import precedence from './precedence.ts'
import removal from './removal.ts'
import rfc from './rfc.ts'
import rules from './rules.ts'
import scope from './scope.ts'
import snat from './snat.ts'
import sysv from './sysv.ts'
import tables from './tables.ts'
import tcp from './tcp.ts'
import tools from './tools.ts'
import unsolicited from './unsolicited.ts'
import who from './who.ts'
import whohad from './whohad.ts'

export const SUITES: readonly Suite[] = [
  nat, snat, both, ports, exhaustion, mapping, scope, unsolicited, precedence, removal, rules, namespaces, hairpin, icmp, gatewayErrors,
  fragments, rfc, tcp, firewall, offload, fastpath, limits, tables, tools, ipvsadm, keepalived, metrics, operating, sysv, who, whohad, load, change, inject, fuzz,
]
