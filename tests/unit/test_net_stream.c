/* Streams over real sockets: what is written arrives, whatever the kernel takes at once; ends,
 * closings, dialling and listening. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/list.h"
#include "net/dial.h"
#include "net/listen.h"
#include "net/stream.h"
#include "scratch.h"

static uv_loop_t loop;
static struct net_loop nl;

static int setup(void **state)
{
    (void)state;
    return uv_loop_init(&loop) != 0 || net_loop_init(&nl, &loop) != 0;
}

static int teardown(void **state)
{
    (void)state;
    uv_run(&loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&loop); /* no handle is left */
    net_loop_fini(&nl);
    return rc;
}

/* ---- a stream over one half of a socketpair; the test holds the other ---- */

struct one {
    struct stream st;
    struct buf got;
    unsigned reads, drains, ends, closes;
    int end_status;
    bool close_in_read;
    struct one *read_in_read; /* read this one from inside of our on_read */
};

static void on_read(struct stream *st, const uint8_t *p, size_t n, int status)
{
    struct one *o = list_entry(st, struct one, st);

    if (n == 0) {
        o->ends++;
        o->end_status = status;
        return;
    }
    o->reads++;
    if (o->read_in_read != NULL)
        stream_read_now(&o->read_in_read->st);
    assert_int_equal(buf_append(&o->got, p, n), 0); /* after the nested read, on purpose */
    if (o->close_in_read)
        stream_close(st);
}

static void on_drain(struct stream *st)
{
    list_entry(st, struct one, st)->drains++;
}

static void on_closed(struct stream *st)
{
    list_entry(st, struct one, st)->closes++;
}

static const struct stream_ops ops = {
    .on_read = on_read, .on_drain = on_drain, .on_closed = on_closed};

/* Returns the peer's descriptor. */
static int open_one(struct one *o, bool small)
{
    const int bytes = 4096;
    int fds[2];

    *o = (struct one){0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    if (small) {
        setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
        setsockopt(fds[1], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    }
    assert_int_equal(stream_init_pipe(&o->st, &nl, &ops), 0);
    assert_int_equal(uv_pipe_open(&o->st.u.pipe, fds[0]), 0);
    return fds[1];
}

static void close_one(struct one *o, int peer)
{
    stream_close(&o->st);
    stream_close(&o->st); /* twice is harmless */
    assert_int_equal(o->closes, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(o->closes, 1);
    buf_fini(&o->got);
    if (peer >= 0)
        close(peer);
}

static void put(struct one *o, size_t n, unsigned seed)
{
    stream_prepare(&o->st);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(buf_append_u8(&o->st.out, (uint8_t)((seed + i) * 31)), 0);
}

/* Read exactly n bytes of the pattern, turning the loop. */
static void take(int fd, size_t n, unsigned seed)
{
    uint8_t chunk[8192];
    size_t at = 0;

    while (at < n) {
        ssize_t got = recv(fd, chunk, n - at < sizeof chunk ? n - at : sizeof chunk, MSG_DONTWAIT);
        if (got < 0 && errno == EAGAIN) {
            uv_run(&loop, UV_RUN_NOWAIT);
            continue;
        }
        assert_true(got > 0);
        for (ssize_t i = 0; i < got; i++)
            if (chunk[i] != (uint8_t)((seed + at + (size_t)i) * 31))
                fail_msg("byte %zu is wrong", at + (size_t)i);
        at += (size_t)got;
    }
}

static void small_write_goes_at_once_and_leaves_its_memory(void **unused)
{
    struct one o;
    int peer = open_one(&o, false);

    (void)unused;
    stream_flush(&o.st); /* nothing */
    put(&o, 100, 0);
    assert_int_equal(stream_queued(&o.st), 100);
    stream_flush(&o.st);
    assert_int_equal(stream_queued(&o.st), 0);
    assert_null(o.st.out.p);
    assert_non_null(nl.spare.p); /* for the next stream that writes */
    const uint8_t *spare = nl.spare.p;
    stream_prepare(&o.st);
    assert_ptr_equal(o.st.out.p, spare);
    stream_flush(&o.st);
    take(peer, 100, 0);
    close_one(&o, peer);
}

static void large_write_goes_in_parts_and_tells_when_it_is_out(void **unused)
{
    const size_t n = 1000000;
    struct one o;
    int peer = open_one(&o, true);

    (void)unused;
    put(&o, n, 0);
    stream_flush(&o.st);
    assert_non_null(o.st.pending);
    assert_true(stream_queued(&o.st) > n / 2);
    put(&o, 500, (unsigned)n); /* more, while that waits */
    stream_flush(&o.st);
    size_t queued = stream_queued(&o.st);
    assert_true(queued > 500);
    assert_int_equal(o.drains, 0);
    take(peer, n + 500, 0);
    while (o.drains == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(o.drains, 1);
    assert_int_equal(stream_queued(&o.st), 0);
    close_one(&o, peer);
}

/* A buffer that grew for one large write is not kept for ever. */
static void large_buffers_are_given_back(void **unused)
{
    struct one o;
    int peer = open_one(&o, false);

    (void)unused;
    buf_fini(&nl.spare);
    put(&o, 300000, 0);
    stream_flush(&o.st);
    take(peer, 300000, 0);
    while (stream_queued(&o.st) > 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_true(nl.spare.cap <= 256 * 1024);
    close_one(&o, peer);
}

static void end_comes_behind_all_that_was_written(void **unused)
{
    const size_t n = 500000;
    struct one o;
    int peer = open_one(&o, true);
    char more;

    (void)unused;
    stream_read(&o.st, true);
    put(&o, n, 0);
    stream_flush(&o.st);
    put(&o, 10, (unsigned)n);
    stream_end(&o.st);
    take(peer, n + 10, 0);
    while (recv(peer, &more, 1, MSG_DONTWAIT) != 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    /* The other direction goes on. */
    assert_int_equal(send(peer, "late", 4, 0), 4);
    while (o.got.len < 4)
        uv_run(&loop, UV_RUN_ONCE);
    assert_memory_equal(o.got.p, "late", 4);
    close_one(&o, peer);
}

static void close_drops_what_waits(void **unused)
{
    struct one o;
    int peer = open_one(&o, true);

    (void)unused;
    put(&o, 1000000, 0);
    stream_flush(&o.st);
    put(&o, 10, 0);
    stream_end(&o.st);
    close_one(&o, peer); /* ASan tells what was forgotten */
    assert_int_equal(o.drains, 0);
}

static void peers_end_is_told_once(void **unused)
{
    struct one o;
    int peer = open_one(&o, false);

    (void)unused;
    stream_read(&o.st, true);
    assert_int_equal(send(peer, "last", 4, 0), 4);
    close(peer);
    while (o.ends == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(o.end_status, 0);
    assert_memory_equal(o.got.p, "last", 4);
    assert_true(o.st.ended);
    assert_int_equal(stream_read(&o.st, true), 0); /* nothing more to read */
    assert_false(o.st.reading);
    stream_read_now(&o.st);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(o.ends, 1);
    close_one(&o, -1);
}

/* Nobody reads any more: output is dropped without an error, what the peer said before is read. */
static void write_to_a_peer_that_is_gone_is_dropped(void **unused)
{
    struct one o;
    int peer = open_one(&o, false);

    (void)unused;
    assert_int_equal(send(peer, "alert", 5, 0), 5);
    close(peer);
    put(&o, 100, 0);
    stream_flush(&o.st);
    assert_true(o.st.write_dead);
    assert_int_equal(stream_queued(&o.st), 0);
    put(&o, 100, 0);
    stream_flush(&o.st);
    assert_int_equal(stream_queued(&o.st), 0);
    stream_read(&o.st, true);
    while (o.ends == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_memory_equal(o.got.p, "alert", 5);
    stream_end(&o.st); /* no FIN to be sent: no matter */
    close_one(&o, -1);
}

static void pending_write_that_fails_is_dropped(void **unused)
{
    struct one o;
    int peer = open_one(&o, true);

    (void)unused;
    put(&o, 1000000, 0);
    stream_flush(&o.st);
    assert_non_null(o.st.pending);
    close(peer);
    while (!o.st.write_dead)
        uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(stream_queued(&o.st), 0);
    close_one(&o, -1);
}

static void reading_stops_and_goes_on(void **unused)
{
    struct one o;
    int peer = open_one(&o, false);

    (void)unused;
    assert_int_equal(send(peer, "one", 3, 0), 3);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(o.got.len, 0); /* not asked for yet */
    stream_read(&o.st, true);
    while (o.got.len < 3)
        uv_run(&loop, UV_RUN_ONCE);
    stream_read(&o.st, false);
    assert_int_equal(send(peer, "two", 3, 0), 3);
    uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(o.got.len, 3);
    stream_read(&o.st, true);
    while (o.got.len < 6)
        uv_run(&loop, UV_RUN_ONCE);
    assert_memory_equal(o.got.p, "onetwo", 6);
    close_one(&o, peer);
}

static void read_now_takes_what_is_there(void **unused)
{
    struct one o;
    int peer = open_one(&o, false);
    static uint8_t much[150000];

    (void)unused;
    stream_read_now(&o.st); /* nothing */
    assert_int_equal(o.reads + o.ends, 0);
    for (size_t i = 0; i < sizeof much; i++)
        much[i] = (uint8_t)(i * 7);
    assert_int_equal(send(peer, much, sizeof much, 0), sizeof much);
    shutdown(peer, SHUT_WR);
    stream_read_now(&o.st);
    assert_int_equal(o.got.len, sizeof much);
    assert_memory_equal(o.got.p, much, sizeof much);
    assert_int_equal(o.ends, 1);
    assert_int_equal(o.end_status, 0);
    close_one(&o, peer);
}

static void read_now_stops_when_its_reader_closes(void **unused)
{
    struct one o;
    int peer = open_one(&o, false);
    static const uint8_t much[150000];

    (void)unused;
    o.close_in_read = true;
    assert_int_equal(send(peer, much, sizeof much, 0), sizeof much);
    stream_read_now(&o.st);
    assert_int_equal(o.reads, 1);
    assert_int_equal(o.ends, 0);
    close_one(&o, peer);
}

/* The bytes in hand stay what they are while another stream is read from inside. */
static void read_now_leaves_the_shared_buffer_alone(void **unused)
{
    struct one outer, inner;
    int to_outer = open_one(&outer, false), to_inner = open_one(&inner, false);

    (void)unused;
    outer.read_in_read = &inner;
    assert_int_equal(send(to_inner, "inside!", 7, 0), 7);
    assert_int_equal(send(to_outer, "outside", 7, 0), 7);
    stream_read(&outer.st, true);
    while (outer.got.len == 0)
        uv_run(&loop, UV_RUN_ONCE);
    assert_memory_equal(inner.got.p, "inside!", 7);
    assert_memory_equal(outer.got.p, "outside", 7);
    close_one(&outer, to_outer);
    close_one(&inner, to_inner);
}

/* ---- dial ---- */

struct call {
    struct one o;
    struct dial *dial;
    unsigned done, dropped;
    int status;
    enum dial_stage stage;
};

static void on_done(void *arg, int status, enum dial_stage stage)
{
    struct call *c = arg;

    c->done++;
    c->status = status;
    c->stage = stage;
}

static void on_dropped(void *arg)
{
    struct call *c = arg;

    c->dropped++;
}

static void call(struct call *c, const char *host, uint16_t port)
{
    *c = (struct call){0};
    c->dial = dial_start(&nl, host, port, &c->o.st, &ops, on_done, c);
    assert_non_null(c->dial);
    assert_int_equal(c->done, 0); /* from the loop, not from inside */
}

/* Returns a listening socket of this family and its port. */
static int server(int family, uint16_t *port)
{
    struct err err = {0};
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    int fd = listen_tcp(family == AF_INET6 ? "::1" : "127.0.0.1", 0, false, &err);

    if (fd < 0)
        return fd;
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
    *port = ntohs(family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                     : ((struct sockaddr_in *)&ss)->sin_port);
    return fd;
}

static void dial_connects_by_address_and_by_name(void **unused)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    uint16_t port;
    int fd = server(AF_INET, &port);

    (void)unused;
    assert_true(fd >= 0);
    for (int i = 0; i < 2; i++) {
        struct call c;
        int on = 0;
        socklen_t len = sizeof on;
        uv_os_fd_t sock;

        call(&c, hosts[i], port);
        uv_run(&loop, UV_RUN_DEFAULT);
        assert_int_equal(c.done, 1);
        assert_int_equal(c.status, 0);
        assert_int_equal(uv_fileno(&c.o.st.u.handle, &sock), 0);
        assert_int_equal(getsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
        assert_true(on);
        int peer = accept(fd, NULL, NULL);
        stream_read(&c.o.st, true);
        assert_int_equal(send(peer, "hello", 5, 0), 5);
        while (c.o.got.len < 5)
            uv_run(&loop, UV_RUN_ONCE);
        stream_quickack(&c.o.st);
        close_one(&c.o, peer);
    }
    close(fd);
}

static void dial_says_what_failed(void **unused)
{
    struct call c;
    uint16_t port;
    int fd = server(AF_INET, &port);

    (void)unused;
    close(fd); /* nobody listens there now */
    call(&c, "127.0.0.1", port);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(c.done, 1);
    assert_int_equal(c.status, UV_ECONNREFUSED);
    assert_int_equal(c.stage, DIAL_TCP);
    assert_int_equal(c.o.closes, 0);

    call(&c, "localhost", port); /* both of its addresses */
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(c.status, UV_ECONNREFUSED);
    assert_int_equal(c.stage, DIAL_TCP);

    call(&c, "no-such-host.invalid", port);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(c.done, 1);
    assert_true(c.status < 0);
    assert_int_equal(c.stage, DIAL_DNS);
}

/* "localhost" may be ::1 first: the server listens on one family alone. */
static void dial_tries_each_address(void **unused)
{
    struct call c;
    uint16_t port;
    int fd = server(AF_INET, &port);

    (void)unused;
    call(&c, "localhost", port);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(c.status, 0);
    close_one(&c.o, -1);
    close(fd);
}

static void cancelled(struct call *c)
{
    dial_cancel(c->dial, on_dropped);
    assert_int_equal(c->dropped, 0); /* from the loop */
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(c->dropped, 1);
    assert_int_equal(c->done, 0);
}

static void dial_can_be_given_up_at_each_stage(void **unused)
{
    struct call c;
    uint16_t port;
    int fd = server(AF_INET, &port);

    (void)unused;
    call(&c, "localhost", port); /* resolving */
    cancelled(&c);
    call(&c, "no-such-host.invalid", port);
    cancelled(&c);
    call(&c, "127.0.0.1", port); /* connecting */
    cancelled(&c);
    close(fd);
    call(&c, "127.0.0.1", port); /* about to be refused */
    cancelled(&c);
}

/* ---- listen ---- */

static void port_in_use_is_named_with_its_remedy(void **unused)
{
    struct err err = {0};
    uint16_t port;
    int fd = server(AF_INET, &port);
    char text[200];

    (void)unused;
    assert_int_equal(listen_tcp("127.0.0.1", port, true, &err), -ERR_IO);
    snprintf(text, sizeof text,
             "127.0.0.1 port %u: Address already in use: another program has the port: see `ss "
             "-ltnp`, or choose another",
             port);
    assert_string_equal(err.msg, text);
    int shared = listen_tcp("127.0.0.1", port, false, &err); /* the next worker's */
    assert_true(shared >= 0);
    close(shared);
    close(fd);
    int again = listen_tcp("127.0.0.1", port, true, &err);
    assert_true(again >= 0);
    assert_int_equal(fcntl(again, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    close(again);
}

static void bad_addresses_are_named(void **unused)
{
    struct err err = {0};

    (void)unused;
    assert_int_equal(listen_tcp("somewhere", 1, false, &err), -ERR_INVALID);
    assert_string_equal(err.msg, "address \"somewhere\": not an IP address and not \"*\"");
    assert_int_equal(listen_tcp("192.0.2.1", 18883, false, &err), -ERR_IO);
    assert_non_null(strstr(err.msg, "no interface has this address"));
}

/* Every address of both families. */
static void star_listens_to_both_families(void **unused)
{
    struct err err = {0};
    struct sockaddr_storage ss;
    socklen_t len = sizeof ss;
    int fd = listen_tcp("*", 0, true, &err);

    (void)unused;
    assert_true(fd >= 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
    struct call c;
    call(&c, "127.0.0.1",
         ntohs(ss.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&ss)->sin6_port
                                        : ((struct sockaddr_in *)&ss)->sin_port));
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(c.status, 0);
    close_one(&c.o, -1);
    close(fd);
}

static void stale_unix_socket_is_replaced_and_a_live_one_is_not(void **unused)
{
    char dir[64], path[80], text[160];
    struct err err = {0};
    struct stat st;

    (void)unused;
    assert_true(scratch_make(dir, sizeof(dir)));
    snprintf(path, sizeof path, "%s/s", dir);
    int fd = listen_unix(path, &err);
    assert_true(fd >= 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(listen_unix(path, &err), -ERR_EXISTS);
    snprintf(text, sizeof text, "%s: another process listens here: is certflipd running already?",
             path);
    assert_string_equal(err.msg, text);
    close(fd); /* the file stays, as after a crash */
    fd = listen_unix(path, &err);
    assert_true(fd >= 0);
    close(fd);
    unlink(path);

    snprintf(path, sizeof path, "%s/none/s", dir);
    assert_int_equal(listen_unix(path, &err), -ERR_IO);
    assert_non_null(strstr(err.msg, "check that its folder exists"));
    char longer[200];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_int_equal(listen_unix(longer, &err), -ERR_INVALID);
    rmdir(dir);
}

#define net_test(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        net_test(small_write_goes_at_once_and_leaves_its_memory),
        net_test(large_write_goes_in_parts_and_tells_when_it_is_out),
        net_test(large_buffers_are_given_back),
        net_test(end_comes_behind_all_that_was_written),
        net_test(close_drops_what_waits),
        net_test(peers_end_is_told_once),
        net_test(write_to_a_peer_that_is_gone_is_dropped),
        net_test(pending_write_that_fails_is_dropped),
        net_test(reading_stops_and_goes_on),
        net_test(read_now_takes_what_is_there),
        net_test(read_now_stops_when_its_reader_closes),
        net_test(read_now_leaves_the_shared_buffer_alone),
        net_test(dial_connects_by_address_and_by_name),
        net_test(dial_says_what_failed),
        net_test(dial_tries_each_address),
        net_test(dial_can_be_given_up_at_each_stage),
        net_test(port_in_use_is_named_with_its_remedy),
        net_test(bad_addresses_are_named),
        net_test(star_listens_to_both_families),
        net_test(stale_unix_socket_is_replaced_and_a_live_one_is_not),
    };

    signal(SIGPIPE, SIG_IGN); /* as certflipd does */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
