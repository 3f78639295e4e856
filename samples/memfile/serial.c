// SPDX-License-Identifier: GPL-2.0
/*
 * The console: as much of an 8250 UART as Linux needs. What is sent is written to
 * stdout at once, what is typed waits in a small buffer.
 */
#include <stdio.h>
#include <unistd.h>
#include <linux/serial_reg.h>

#include "machine.h"

static struct {
	uint8_t ier, lcr, mcr, scr, fcr;
	uint8_t divisor[2];
	bool sent;			/* and the guest has not been told yet */
	bool irq;
	char input[256];
	unsigned int head, tail;	/* of input */
} serial;

static bool has_input(void)
{
	return serial.head != serial.tail;
}

static void update_irq(struct machine *m)
{
	const bool irq = (serial.ier & UART_IER_RDI && has_input()) ||
			 (serial.ier & UART_IER_THRI && serial.sent);

	if (irq != serial.irq)
		arch_set_irq(m, SERIAL_IRQ, irq);
	serial.irq = irq;
}

static uint8_t why_interrupt(void)
{
	const uint8_t fifo = serial.fcr & UART_FCR_ENABLE_FIFO ? 0xc0 : 0;

	if (serial.ier & UART_IER_RDI && has_input())
		return fifo | UART_IIR_RDI;
	if (serial.ier & UART_IER_THRI && serial.sent) {
		serial.sent = false;
		return fifo | UART_IIR_THRI;
	}
	return fifo | UART_IIR_NO_INT;
}

static uint8_t modem_status(void)
{
	if (!(serial.mcr & UART_MCR_LOOP))
		return UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS;
	/* Looped back, the outputs are the inputs: Linux looks for that. */
	return (serial.mcr & UART_MCR_RTS ? UART_MSR_CTS : 0) |
	       (serial.mcr & UART_MCR_DTR ? UART_MSR_DSR : 0) |
	       (serial.mcr & UART_MCR_OUT1 ? UART_MSR_RI : 0) |
	       (serial.mcr & UART_MCR_OUT2 ? UART_MSR_DCD : 0);
}

static uint8_t serial_read(uint64_t offset)
{
	switch (offset) {
	case UART_RX:
		if (serial.lcr & UART_LCR_DLAB)
			return serial.divisor[0];
		return has_input() ? serial.input[serial.tail++ % sizeof(serial.input)] : 0;
	case UART_IER:
		return serial.lcr & UART_LCR_DLAB ? serial.divisor[1] : serial.ier;
	case UART_IIR:
		return why_interrupt();
	case UART_LCR:
		return serial.lcr;
	case UART_MCR:
		return serial.mcr;
	case UART_LSR:
		return UART_LSR_TEMT | UART_LSR_THRE | (has_input() ? UART_LSR_DR : 0);
	case UART_MSR:
		return modem_status();
	default:
		return serial.scr;
	}
}

static void serial_write(uint64_t offset, uint8_t value)
{
	switch (offset) {
	case UART_TX:
		if (serial.lcr & UART_LCR_DLAB) {
			serial.divisor[0] = value;
		} else if (!(serial.mcr & UART_MCR_LOOP)) {
			if (write(STDOUT_FILENO, &value, 1) != 1)
				die("where does stdout go?", "write(stdout)");
			serial.sent = true;
		}
		break;
	case UART_IER:
		if (serial.lcr & UART_LCR_DLAB) {
			serial.divisor[1] = value;
			break;
		}
		/* It can always take more, and says so when asked to. */
		serial.sent |= value & ~serial.ier & UART_IER_THRI;
		serial.ier = value & 0xf;
		break;
	case UART_FCR:
		serial.fcr = value;
		break;
	case UART_LCR:
		serial.lcr = value;
		break;
	case UART_MCR:
		serial.mcr = value;
		break;
	case UART_SCR:
		serial.scr = value;
		break;
	}
}

void serial_access(struct machine *m, uint64_t offset, void *data, bool is_write)
{
	pthread_mutex_lock(&m->lock);
	if (is_write)
		serial_write(offset, *(uint8_t *)data);
	else
		*(uint8_t *)data = serial_read(offset);
	update_irq(m);
	pthread_mutex_unlock(&m->lock);
}

/* What does not fit is lost, as on a line without flow control. */
void serial_input(struct machine *m, char c)
{
	pthread_mutex_lock(&m->lock);
	if (serial.head - serial.tail < sizeof(serial.input))
		serial.input[serial.head++ % sizeof(serial.input)] = c;
	update_irq(m);
	pthread_mutex_unlock(&m->lock);
}
