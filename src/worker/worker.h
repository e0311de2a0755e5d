/* worker/worker.h - a data-plane thread: one uv loop, its share of the listeners, its sessions.
 *
 * These functions are the main thread's side.  Everything else that a worker does, it does on its
 * own thread.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "net/inbox.h"
#include "worker/msg.h"

struct worker;

/* Listening sockets are bound here, on the main thread, so that a port in use is an error at start.
 * Connections wait there until worker_run.  `main_box` gets the worker's messages (struct msg
 * through their `link`).  The first worker of a process has index 0 and owns the unix listeners.
 * Takes a reference on the snapshot.  Returns owned, or NULL with err
 * ("listener tls: 0.0.0.0 port 8883: address in use: ..."). */
struct worker *worker_start(unsigned index, struct wk_snapshot *snapshot, struct inbox *main_box,
                            struct err *err);

/* Start the thread.  What was posted before is taken before the first connection.  Returns 0 or a
 * negative code with err. */
int worker_run(struct worker *w, struct err *err);

/* Takes m.  Any thread. */
void worker_post(struct worker *w, struct msg *m);

/* Wait for the thread (after its MSG_STOPPED), if there is one, and free. */
void worker_join(struct worker *w);

/* Could the listeners that `next` has and `now` has not be bound?  For a reload, before it is
 * posted; main thread. Returns 0 or a negative code with err. */
int worker_check_listeners(const struct conf *now, const struct conf *next, struct err *err);

#endif
