/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* The registers of QEMU's edu device, in BAR 0 (docs/specs/edu.rst in QEMU's source). */
#ifndef EDU_H
#define EDU_H

#define EDU_ID 0x00
#define EDU_LIVENESS 0x04
#define EDU_FACTORIAL 0x08
#define EDU_STATUS 0x20
#define EDU_STATUS_COMPUTING BIT(0)
#define EDU_DMA_SRC 0x80
#define EDU_DMA_DST 0x88
#define EDU_DMA_COUNT 0x90
#define EDU_DMA_COMMAND 0x98
#define EDU_DMA_START BIT(0)
#define EDU_DMA_TO_MEMORY BIT(1)
#define EDU_BUFFER 0x40000
/* The buffer has 4096 bytes; QEMU before 8.2 takes a transfer that reaches its very end for one
 * out of bounds and aborts, so half of it is used. */
#define DMA_BYTES 2048
/* The device answers in milliseconds; emulated twice over on a busy host it may take seconds. */
#define DEVICE_TIMEOUT_US (20 * USEC_PER_SEC)

#endif
