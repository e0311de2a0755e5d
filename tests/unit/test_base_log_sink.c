/* Where lines go when whoever takes them is slow, full, away or back: nobody waits, and what is
 * lost is counted.  Each story is a process of its own, as the way is chosen once.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/log_sink.h"
#include "scratch.h"

/* What stands in for cmocka's in a child. */
#define CHECK(what)                                                           \
    do {                                                                      \
        if (!(what)) {                                                        \
            dprintf(STDOUT_FILENO, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
            _exit(1);                                                         \
        }                                                                     \
    } while (0)

static char folder[64];

static void in_child(void (*story)(void))
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        story();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static struct sockaddr_un address_of(const char *name)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", folder, name);
    return a;
}

static int journald(const struct sockaddr_un *a)
{
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    unlink(a->sun_path);
    CHECK(bind(fd, (const struct sockaddr *)a, sizeof(*a)) == 0);
    return fd;
}

/* JOURNAL_STREAM says that stderr leads to the journal. */
static void lead_to_journal(bool truly)
{
    struct stat st;
    char stream[64];

    CHECK(fstat(STDERR_FILENO, &st) == 0);
    snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino + (truly ? 0 : 1));
    setenv("JOURNAL_STREAM", stream, 1);
}

static void say(unsigned n)
{
    log_fact(LOG_FLIP, LOG_NOTICE_, "said", "n=%u", n);
}

static int number_in(const char *text, ssize_t bytes)
{
    const char *p = bytes <= 0 ? NULL : memmem(text, (size_t)bytes, " said n=", 8);

    return p == NULL ? -1 : atoi(p + 8);
}

static int receive(int fd)
{
    char text[20480];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);

    if (n > 0)
        text[n] = '\0';
    return number_in(text, n);
}

static int pipe_to_stderr(void)
{
    int fds[2];

    CHECK(pipe2(fds, O_CLOEXEC) == 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    dup2(fds[1], STDERR_FILENO);
    close(fds[1]);
    return fds[0];
}

/* -- the journal -- */

static void the_journal_is_found_by_its_stream(void)
{
    struct sockaddr_un a = address_of("found");
    int fd = journald(&a);

    (void)pipe_to_stderr();
    lead_to_journal(true);
    CHECK(log_sink_open(LOG_AUTO, a.sun_path) == 0);
    CHECK(log_sink_is_journal());
    say(7);
    CHECK(receive(fd) == 7);
}

static void a_redirected_stderr_is_kept(void)
{
    struct sockaddr_un a = address_of("redirected");
    int fd = journald(&a), out = pipe_to_stderr();
    char text[200];
    ssize_t n;

    lead_to_journal(false);
    CHECK(log_sink_open(LOG_AUTO, a.sun_path) == 0);
    CHECK(!log_sink_is_journal());
    say(7);
    CHECK(receive(fd) == -1);
    n = read(out, text, sizeof(text));
    CHECK(number_in(text, n) == 7);
    CHECK(text[0] == '2'); /* a time, and no priority */
}

static void the_configuration_chooses(void)
{
    struct sockaddr_un a = address_of("chosen"), none = address_of("none");
    int fd = journald(&a), out = pipe_to_stderr();
    char text[200];

    lead_to_journal(true);
    CHECK(log_sink_open(LOG_JOURNAL, none.sun_path) != 0);
    say(1);
    CHECK(number_in(text, read(out, text, sizeof(text))) == 1);
    CHECK(memcmp(text, "<5>", 3) == 0); /* stderr leads there all the same */
    CHECK(log_sink_open(LOG_STDERR, a.sun_path) == 0);
    say(2);
    CHECK(number_in(text, read(out, text, sizeof(text))) == 2);
    CHECK(log_sink_open(LOG_JOURNAL, a.sun_path) == 0);
    say(3);
    CHECK(receive(fd) == 3);
}

/* Nobody reads: lines wait, in order, and nobody stands still for it; then they are all there. */
static void a_full_journal_is_waited_for_by_nobody(void)
{
    enum { LINES = 3000 };
    struct sockaddr_un a = address_of("full");
    int fd = journald(&a), expected = 0, n;
    int64_t began_us = clock_mono_us();

    (void)pipe_to_stderr();
    lead_to_journal(true);
    CHECK(log_sink_open(LOG_AUTO, a.sun_path) == 0);
    for (unsigned i = 0; i < LINES; i++)
        say(i);
    CHECK(clock_mono_us() - began_us < 20000000); /* rather than for ever */
    CHECK(log_sink_drain());
    CHECK(log_sink_lost() == 0);
    do {
        while ((n = receive(fd)) >= 0)
            CHECK(n == expected++);
    } while (log_sink_drain() || expected < LINES);
    CHECK(expected == LINES);
    say(LINES);
    CHECK(receive(fd) == LINES);
}

static void what_is_beyond_the_bound_is_told(void)
{
    enum { LINES = SINK_LINES + 2000 };
    struct sockaddr_un a = address_of("beyond");
    int fd = journald(&a), got = 0;
    char text[20480];
    ssize_t n;
    uint64_t lost;

    (void)pipe_to_stderr();
    lead_to_journal(true);
    CHECK(log_sink_open(LOG_AUTO, a.sun_path) == 0);
    for (unsigned i = 0; i < LINES; i++)
        say(i);
    lost = log_sink_lost();
    CHECK(lost > 0);
    do
        while (receive(fd) >= 0)
            got++;
    while (log_sink_drain());
    while (receive(fd) >= 0)
        got++;
    CHECK((uint64_t)got + lost == LINES);
    log_tick(false);
    n = recv(fd, text, sizeof(text) - 1, 0);
    CHECK(n > 0);
    text[n] = '\0';
    CHECK(strstr(text, "log-lost count=") != NULL);
    CHECK(strtoull(strstr(text, "count=") + 6, NULL, 10) == lost);
    log_tick(false);
    CHECK(recv(fd, text, sizeof(text), 0) < 0); /* it is told once */
}

/* journald is started anew: its socket goes, and comes back. */
static void a_journal_that_comes_back_is_found(void)
{
    struct sockaddr_un a = address_of("back");
    int fd = journald(&a), out = pipe_to_stderr();
    char text[200];

    lead_to_journal(true);
    CHECK(log_sink_open(LOG_AUTO, a.sun_path) == 0);
    close(fd);
    say(1);
    CHECK(number_in(text, read(out, text, sizeof(text))) == 1);
    unlink(a.sun_path);
    say(2);
    CHECK(number_in(text, read(out, text, sizeof(text))) == 2);
    fd = journald(&a);
    say(3);
    CHECK(receive(fd) == 3);
    CHECK(log_sink_lost() == 0);
}

/* -- stderr -- */

/* A pipe, or a stream's socket, that nobody reads: the same; and no line is torn. */
static void a_full_stderr(int out)
{
    enum { LINES = 6000 };
    static char text[LINES * 64];
    size_t have = 0;
    ssize_t n;
    unsigned expected = 0;

    CHECK(log_sink_open(LOG_STDERR, NULL) == 0);
    for (unsigned i = 0; i < LINES; i++)
        say(i);
    CHECK(log_sink_drain());
    for (bool more = true; more;) {
        more = log_sink_drain();
        while ((n = read(out, text + have, sizeof(text) - 1 - have)) > 0)
            have += (size_t)n;
    }
    CHECK(log_sink_lost() == 0);
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        CHECK(number_in(line, (ssize_t)strlen(line)) == (int)expected++);
        CHECK(line[0] == '2' && line[24] == ' ');
    }
    CHECK(expected == LINES);
}

static void a_full_pipe_is_waited_for_by_nobody(void)
{
    a_full_stderr(pipe_to_stderr());
}

static void a_full_socket_is_waited_for_by_nobody(void)
{
    int fds[2];

    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    dup2(fds[1], STDERR_FILENO);
    a_full_stderr(fds[0]);
}

/* O_NONBLOCK is for us alone: whoever shares the pipe is not surprised. */
static void others_at_the_pipe_notice_nothing(void)
{
    (void)pipe_to_stderr();
    CHECK(log_sink_open(LOG_STDERR, NULL) == 0);
    CHECK((fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK) == 0);
}

/* At the end what waits gets its time, and no more. */
static void the_end_does_not_wait_for_ever(void)
{
    int out = pipe_to_stderr();
    int64_t began_us;

    (void)out;
    CHECK(log_sink_open(LOG_STDERR, NULL) == 0);
    for (unsigned i = 0; i < 5000; i++)
        say(i);
    CHECK(log_sink_drain());
    began_us = clock_mono_us();
    log_sink_flush(100);
    CHECK(clock_mono_us() - began_us >= 100000);
    CHECK(log_sink_lost() > 0);
    CHECK(!log_sink_drain());
}

/* A disk that is full: counted, and tried to be told now and then. */
static void what_cannot_be_written_is_counted(void)
{
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

    dup2(fd, STDERR_FILENO);
    CHECK(log_sink_open(LOG_STDERR, NULL) == 0);
    for (unsigned i = 0; i < 10; i++)
        say(i);
    CHECK(log_sink_lost() == 10);
    log_tick(false); /* that line is lost, too */
    log_tick(false);
    CHECK(log_sink_lost() == 11);
    CHECK(log_sink_take_lost() == 10);
}

#define STORY(name)                        \
    static void test_##name(void **unused) \
    {                                      \
        (void)unused;                      \
        in_child(name);                    \
    }

STORY(the_journal_is_found_by_its_stream)
STORY(a_redirected_stderr_is_kept)
STORY(the_configuration_chooses)
STORY(a_full_journal_is_waited_for_by_nobody)
STORY(what_is_beyond_the_bound_is_told)
STORY(a_journal_that_comes_back_is_found)
STORY(a_full_pipe_is_waited_for_by_nobody)
STORY(a_full_socket_is_waited_for_by_nobody)
STORY(others_at_the_pipe_notice_nothing)
STORY(the_end_does_not_wait_for_ever)
STORY(what_cannot_be_written_is_counted)

static int clean_up(void **unused)
{
    char command[80];

    (void)unused;
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_journal_is_found_by_its_stream),
        cmocka_unit_test(test_a_redirected_stderr_is_kept),
        cmocka_unit_test(test_the_configuration_chooses),
        cmocka_unit_test(test_a_full_journal_is_waited_for_by_nobody),
        cmocka_unit_test(test_what_is_beyond_the_bound_is_told),
        cmocka_unit_test(test_a_journal_that_comes_back_is_found),
        cmocka_unit_test(test_a_full_pipe_is_waited_for_by_nobody),
        cmocka_unit_test(test_a_full_socket_is_waited_for_by_nobody),
        cmocka_unit_test(test_others_at_the_pipe_notice_nothing),
        cmocka_unit_test(test_the_end_does_not_wait_for_ever),
        cmocka_unit_test(test_what_cannot_be_written_is_counted),
    };

    if (!scratch_make(folder, sizeof(folder)))
        return 1;
    unsetenv("JOURNAL_STREAM");
    return cmocka_run_group_tests(tests, NULL, clean_up);
}
