/* daemon/notify.h - tell the service manager how we are.  Nothing happens where there is none. Main
 * thread. */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

#include <stdint.h>

void notify_ready(const char *status);
void notify_reloading(void);
void notify_stopping(void);
void notify_watchdog(void);

/* A quarter of the time within which the manager wants to hear from us; 0: it does not care. */
uint64_t notify_watchdog_ms(void);

#endif
