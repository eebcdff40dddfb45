/* SPDX-License-Identifier: GPL-2.0 */
/* Headers for user programs have no folder of their own in this kernel */
#include "../uapi/linux/ip_vs_snat.h"
