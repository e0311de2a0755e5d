/* net/stream.h - a connected socket (TCP or Unix) on a loop: bytes in at once, bytes out in one
 * write.
 *
 * Reads land in a buffer that all streams of a loop share; what is to be sent is collected in `out`
 * and goes to the kernel with one call at stream_flush.  Only what the kernel does not take is
 * kept.  One thread: the loop's.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "base/buf.h"

#define NET_READ_BYTES 65536u

/* What the streams of one loop share.  uv_loop_t.data points at it. */
struct net_loop {
    uv_loop_t *loop;
    uint8_t *read_buf; /* owned, NET_READ_BYTES */
    unsigned
        dial_turn; /* which address of several a dial begins with: another one after each failure */
    struct buf spare; /* an emptied `out`, for the next stream that writes */
};

int net_loop_init(struct net_loop *nl, uv_loop_t *loop); /* 0 or -ERR_NOMEM */
void net_loop_fini(struct net_loop *nl);

struct stream;
struct stream_write;

struct stream_ops {
    /* Bytes from the peer, valid during the call.  n = 0: no more will come; status 0 for a clean
     * end, else a negative uv error.  May close the stream. */
    void (*on_read)(struct stream *s, const uint8_t *p, size_t n, int status);
    /* All that was written has gone to the kernel. */
    void (*on_drain)(struct stream *s);
    /* The handle is closed: the memory may go. */
    void (*on_closed)(struct stream *s);
};

struct stream {
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } u;
    const struct stream_ops *ops;
    struct buf out;               /* not yet handed to the kernel; append, then flush */
    struct stream_write *pending; /* what the kernel did not take at once */
    bool reading;
    bool ended;      /* the peer's end was seen */
    bool write_dead; /* a write failed: output is dropped, reading goes on (a TLS alert may wait
                        there) */
    bool ending;     /* shut down the sending side once everything is out */
    bool closing;
};

/* A handle of the kind, not connected.  Returns 0 or a negative uv error. */
int stream_init_tcp(struct stream *s, struct net_loop *nl, const struct stream_ops *ops);
int stream_init_pipe(struct stream *s, struct net_loop *nl, const struct stream_ops *ops);

void stream_tune(struct stream *s); /* TCP_NODELAY, kernel keepalive; once connected */
/* Acknowledge at once what has come (TCP_QUICKACK).  The kernel forgets it again, so after each
 * read of a handshake: a peer with Nagle's algorithm waits for the acknowledgement of its tickets
 * before it sends CONNACK, 40 ms otherwise. */
void stream_quickack(struct stream *s);
/* Give up a connection whose peer has acknowledged nothing for so long (TCP_USER_TIMEOUT); the
 * kernel waits for a quarter of an hour otherwise. */
void stream_patience(struct stream *s, unsigned ms);
int stream_read(struct stream *s, bool on); /* 0 or a negative uv error */

/* Take what the socket holds right now, without the loop, through on_read; stops at an empty
 * socket, the peer's end, or when on_read closed the stream. */
void stream_read_now(struct stream *s);
/* The same, as long as it is read from: on_read may have enough. */
void stream_hear_out(struct stream *s);

void stream_prepare(struct stream *s); /* give `out` memory before it is appended to */
void stream_flush(struct stream *s);
size_t stream_queued(const struct stream *s); /* bytes that wait for the peer */
void stream_end(struct stream *s);            /* flush, then FIN; reading goes on */
void stream_close(struct stream *s); /* now; on_closed follows from the loop.  Twice is harmless. */

#endif
