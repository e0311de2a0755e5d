#include "base/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/list.h"
#include "base/pile.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"

enum way {
    WAY_STDERR,
    WAY_JOURNAL, /* datagrams to the journal */
};

struct waiting {
    struct pile_item item;
    bool journal; /* a datagram; or bytes for stderr */
    size_t n, at; /* of text; what was written of it */
    char text[];
};

static enum way way = WAY_STDERR;
static int to = STDERR_FILENO; /* or stderr opened again, so that it does not block */
static bool stderr_is_socket;  /* and is written by send(2) */
static bool may_wait = true;   /* nobody has chosen: who drains is not known */
static int journal = -1;
static struct sockaddr_un journal_address;
static socklen_t journal_address_n;

static struct pile pile;
static struct list queue = {&queue, &queue}; /* the drainer's: taken from the pile */
static atomic_ullong lost, lost_untold;

/* JOURNAL_STREAM names device and inode of the socket that leads to the journal; stderr may have
 * been redirected since (systemd.exec(5)). */
static bool find_stream(void)
{
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): nothing in this program changes the environment */
    const char *stream = getenv("JOURNAL_STREAM");
    struct stat st;
    char *colon;

    return stream != NULL && fstat(STDERR_FILENO, &st) == 0 &&
           strtoull(stream, &colon, 10) == st.st_dev && *colon == ':' &&
           strtoull(colon + 1, NULL, 10) == st.st_ino;
}

static bool is_stream(void)
{
    static atomic_int known = -1;
    int answer = atomic_load_explicit(&known, memory_order_relaxed);

    if (answer < 0) {
        answer = find_stream();
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == 1;
}

/* -- choosing -- */

static int open_journal(const char *path)
{
    journal_address.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof(journal_address.sun_path))
        return -ERR_IO;
    strcpy(journal_address.sun_path, path);
    journal_address_n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path) + 1);
    if (access(path, F_OK) != 0)
        return -ERR_IO;
    journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (journal < 0)
        return -ERR_IO;
    way = WAY_JOURNAL;
    return 0;
}

/* O_NONBLOCK belongs to the open file, which the shell and others share; so it is opened again.
 * Where that is not allowed, a write may wait. */
static void open_stderr(void)
{
    struct stat st;
    int fd;

    if (fstat(STDERR_FILENO, &st) != 0)
        return;
    if (S_ISSOCK(st.st_mode)) {
        stderr_is_socket = true;
    } else if (S_ISFIFO(st.st_mode) || (S_ISCHR(st.st_mode) && isatty(STDERR_FILENO) == 1)) {
        fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
        if (fd >= 0)
            to = fd;
    }
}

int log_sink_open(enum log_target target, const char *path)
{
    int rc = 0;

    may_wait = false;
    open_stderr();
    if (target == LOG_JOURNAL || (target == LOG_AUTO && is_stream()))
        rc = open_journal(path == NULL ? JOURNAL_SOCKET : path);
    return target == LOG_AUTO ? 0 : rc;
}

bool log_sink_is_journal(void)
{
    return way == WAY_JOURNAL;
}

/* -- writing -- */

static void count_lost(void)
{
    atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&lost_untold, 1, memory_order_relaxed);
}

uint64_t log_sink_lost(void)
{
    return atomic_load_explicit(&lost, memory_order_relaxed);
}

uint64_t log_sink_take_lost(void)
{
    return atomic_exchange_explicit(&lost_untold, 0, memory_order_relaxed);
}

void log_sink_put_lost(uint64_t n)
{
    atomic_fetch_add_explicit(&lost_untold, n, memory_order_relaxed);
}

static bool is_full(void)
{
    return errno == EAGAIN || errno == ENOBUFS;
}

/* Returns what was written, or -1 with errno. */
static ssize_t to_stderr(const char *p, size_t n)
{
    ssize_t done;

    do
        done = stderr_is_socket ? send(STDERR_FILENO, p, n, MSG_DONTWAIT | MSG_NOSIGNAL)
                                : write(to, p, n);
    while (done < 0 && errno == EINTR);
    return done;
}

static ssize_t to_journal(const char *p, size_t n)
{
    ssize_t done;

    do
        done = sendto(journal, p, n, MSG_NOSIGNAL, (struct sockaddr *)&journal_address,
                      journal_address_n);
    while (done < 0 && errno == EINTR);
    return done;
}

static void keep(bool for_journal, const char *p, size_t n)
{
    struct waiting *w = malloc(sizeof(*w) + n);

    if (w != NULL) {
        *w = (struct waiting){.item.bytes = sizeof(*w) + n, .journal = for_journal, .n = n};
        memcpy(w->text, p, n);
    }
    if (w == NULL || !pile_put(&pile, &w->item, SINK_LINES, SINK_BYTES)) {
        free(w);
        count_lost();
    }
}

/* Behind those that wait nobody is written. */
static bool must_wait(void)
{
    return !may_wait && !pile_empty(&pile);
}

static void write_stderr(const char *p, size_t n)
{
    ssize_t done;

    if (must_wait()) {
        keep(false, p, n);
        return;
    }
    done = to_stderr(p, n);
    if (done >= 0 && (size_t)done < n && !may_wait)
        keep(false, p + done, n - (size_t)done); /* the rest of it is the next in turn */
    else if (done < 0 && is_full() && !may_wait)
        keep(false, p, n);
    else if (done < 0)
        count_lost();
}

static void write_line(const struct log_record *r, enum log_format format)
{
    struct log_line l;

    if (format == LOG_JSON)
        log_line_json(&l, r, is_stream());
    else
        log_line_text(&l, r, is_stream());
    write_stderr(l.s, l.n);
}

static void write_journal(const struct log_record *r, enum log_format format)
{
    struct log_datagram d;

    log_line_journal(&d, r, format);
    if (must_wait()) {
        keep(true, d.s, d.n);
        return;
    }
    if (to_journal(d.s, d.n) >= 0)
        return;
    if (is_full())
        keep(true, d.s, d.n);
    else
        write_line(r, format); /* the journal is gone, or is started anew */
}

void log_sink_write(const struct log_record *r, enum log_format format)
{
    if (way == WAY_JOURNAL)
        write_journal(r, format);
    else
        write_line(r, format);
}

/* -- what waits -- */

/* Returns false when there is no room. */
static bool write_waiting(struct waiting *w)
{
    ssize_t done =
        w->journal ? to_journal(w->text, w->n) : to_stderr(w->text + w->at, w->n - w->at);

    if (done < 0) {
        if (is_full())
            return false;
        count_lost();
        return true;
    }
    w->at += (size_t)done;
    return w->journal || w->at == w->n;
}

bool log_sink_drain(void)
{
    if (pile_empty(&pile))
        return false;
    pile_take(&pile, &queue);
    while (!list_empty(&queue)) {
        struct waiting *w = list_entry(queue.next, struct waiting, item.link);

        if (!write_waiting(w))
            return true;
        list_del(&w->item.link);
        pile_done(&pile, &w->item);
        free(w);
        if (list_empty(&queue))
            pile_take(&pile, &queue);
    }
    return false;
}

void log_sink_flush(int wait_ms)
{
    int64_t end_us = clock_mono_us() + wait_ms * INT64_C(1000);

    while (log_sink_drain()) {
        struct pollfd p = {.fd = way == WAY_JOURNAL ? journal : to, .events = POLLOUT};

        if (clock_mono_us() >= end_us)
            break;
        /* A datagram socket that is not connected is always said to be writable. */
        (void)poll(way == WAY_JOURNAL ? NULL : &p, way == WAY_JOURNAL ? 0 : 1, 5);
    }
    while (!list_empty(&queue)) { /* nobody took them in time */
        struct waiting *w = list_entry(queue.next, struct waiting, item.link);

        list_del(&w->item.link);
        pile_done(&pile, &w->item);
        free(w);
        count_lost();
    }
}
