/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ACPI_H
#define _ACPI_H

#include "machine.h"

uint64_t acpi_write(struct machine *m, uint64_t gpa);

#endif
