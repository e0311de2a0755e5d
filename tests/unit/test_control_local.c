/* test_control_local.c - the control socket: its place in the file system, its lines, its clients.
 */
#include "test_control_world.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "control/local.h"

struct socket_world {
    struct world *world;
    uv_loop_t loop;
    struct local *local;
    char path[128];
};

static struct socket_world s;

static int make(void **state)
{
    world_make(state);
    s.world = *state;
    world_start(s.world);
    uv_loop_init(&s.loop);
    snprintf(s.path, sizeof(s.path), "%s/control.sock", s.world->dir);
    return 0;
}

static int clean(void **state)
{
    local_stop(s.local);
    s.local = NULL;
    uv_run(&s.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&s.loop), 0);
    unlink(s.path);
    return world_remove(state);
}

static void start(void)
{
    struct err err = {0};

    s.local = local_start(&s.loop, &s.world->dispatch, s.path, NULL, &err);
    if (s.local == NULL)
        fail_msg("%s", err.msg);
}

static struct sockaddr_un address(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    memcpy(a.sun_path, s.path, strlen(s.path) + 1);
    return a;
}

static int dial(void)
{
    struct sockaddr_un a = address();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void turn(void)
{
    for (int i = 0; i < 8; i++)
        uv_run(&s.loop, UV_RUN_NOWAIT);
}

static void say(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, text, n, MSG_NOSIGNAL);

        if (sent < 0) {
            assert_int_equal(errno, EAGAIN);
            turn();
            continue;
        }
        text += sent;
        n -= (size_t)sent;
    }
    turn();
}

/* What has come so far; -1 in *left_open when the other side has closed. */
static size_t hear(int fd, struct buf *into, bool *open)
{
    char chunk[65536];
    ssize_t n;

    *open = true;
    for (int idle = 0; idle < 20;) {
        turn();
        n = recv(fd, chunk, sizeof(chunk), 0);
        if (n > 0) {
            buf_append(into, chunk, (size_t)n);
            idle = 0;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            *open = false;
            break;
        } else {
            idle++;
        }
    }
    return into->len;
}

static size_t count_lines(const struct buf *b)
{
    size_t n = 0;

    for (size_t i = 0; i < b->len; i++)
        n += b->p[i] == '\n';
    return n;
}

static const char request[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"log.level\"}\n";
static const char help[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"help\"}\n";

/* -- the socket's place -- */

static void it_is_for_owner_and_group(void **unused)
{
    struct stat st;

    (void)unused;
    start();
    assert_int_equal(stat(s.path, &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 0777, 0660);
    local_stop(s.local);
    s.local = NULL;
    assert_int_equal(stat(s.path, &st), -1);
}

static void a_stale_socket_is_replaced(void **unused)
{
    struct sockaddr_un a = address();
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    (void)unused;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd);
    start();
    close(dial());
}

static void a_socket_that_is_served_is_left_alone(void **unused)
{
    struct err err = {0};

    (void)unused;
    start();
    assert_null(local_start(&s.loop, &s.world->dispatch, s.path, NULL, &err));
    assert_non_null(strstr(err.msg, "another certflipd"));
    close(dial());
}

static void a_file_in_its_place_is_left_alone(void **unused)
{
    struct err err = {0};
    int fd = open(s.path, O_CREAT | O_WRONLY, 0600);

    (void)unused;
    close(fd);
    assert_null(local_start(&s.loop, &s.world->dispatch, s.path, NULL, &err));
    assert_non_null(strstr(err.msg, "no socket"));
    assert_int_equal(access(s.path, F_OK), 0);
}

static void an_unknown_group_is_named(void **unused)
{
    struct err err = {0};

    (void)unused;
    assert_null(local_start(&s.loop, &s.world->dispatch, s.path, "no-such-group-here", &err));
    assert_non_null(strstr(err.msg, "no-such-group-here"));
}

/* -- lines -- */

static void lines_may_come_cut_anywhere_or_many_at_once(void **unused)
{
    struct buf in = {0};
    bool open;
    int fd;

    (void)unused;
    start();
    fd = dial();
    for (size_t i = 0; i < sizeof(request) - 1; i++)
        say(fd, request + i, 1);
    say(fd, "\n\r\n", 3); /* empty lines say nothing */
    say(fd, request, sizeof(request) - 1);
    for (int i = 0; i < 3; i++)
        buf_append(&in, request, sizeof(request) - 1);
    say(fd, (const char *)in.p, in.len);
    buf_fini(&in);
    hear(fd, &in, &open);
    assert_true(open);
    assert_int_equal(count_lines(&in), 5);
    buf_fini(&in);
    close(fd);
}

static void the_last_line_needs_no_newline_when_the_client_has_ended(void **unused)
{
    struct buf in = {0};
    bool open;
    int fd;

    (void)unused;
    start();
    fd = dial();
    say(fd, request, sizeof(request) - 2);
    shutdown(fd, SHUT_WR);
    hear(fd, &in, &open);
    assert_false(open);
    assert_int_equal(count_lines(&in), 1);
    buf_fini(&in);
    close(fd);
}

static void a_line_without_end_is_refused(void **unused)
{
    char *text = malloc(RPC_LINE_MAX + 100);
    struct buf in = {0};
    bool open;
    int fd;

    (void)unused;
    memset(text, 'x', RPC_LINE_MAX + 100);
    start();
    fd = dial();
    say(fd, text, RPC_LINE_MAX + 100);
    hear(fd, &in, &open);
    assert_false(open);
    buf_append_u8(&in, 0);
    assert_non_null(strstr((const char *)in.p, "too-big"));
    buf_fini(&in);
    free(text);
    close(fd);
}

static void who_does_not_read_is_not_read_from_but_gets_every_reply(void **unused)
{
    const size_t many = 20000; /* some 40 MiB of replies */
    struct buf in = {0};
    size_t sent = 0, idle = 0, stalled_at;
    bool open;
    int fd;

    (void)unused;
    start();
    fd = dial();
    while (sent < many * (sizeof(help) - 1) && idle < 100) {
        size_t at = sent % (sizeof(help) - 1);
        ssize_t n = send(fd, help + at, sizeof(help) - 1 - at, MSG_NOSIGNAL);

        if (n > 0) {
            sent += (size_t)n;
            idle = 0;
        } else {
            turn();
            idle++;
        }
    }
    stalled_at = sent;
    assert_true(stalled_at < many * (sizeof(help) - 1));
    hear(fd, &in, &open); /* now it reads, and the rest is served */
    say(fd, help + sent % (sizeof(help) - 1), sizeof(help) - 1 - sent % (sizeof(help) - 1));
    sent += sizeof(help) - 1 - sent % (sizeof(help) - 1);
    hear(fd, &in, &open);
    assert_true(open);
    assert_int_equal(count_lines(&in), sent / (sizeof(help) - 1));
    buf_fini(&in);
    close(fd);
}

static void clients_do_not_wait_for_each_other(void **unused)
{
    struct buf in = {0};
    bool open;
    int fd[20];

    (void)unused;
    start();
    for (int i = 0; i < 20; i++) {
        fd[i] = dial();
        say(fd[i], request, 10);
    }
    for (int i = 19; i >= 0; i--) {
        say(fd[i], request + 10, sizeof(request) - 11);
        hear(fd[i], &in, &open);
        assert_int_equal(count_lines(&in), 1);
        buf_fini(&in);
        close(fd[i]);
    }
}

static void who_is_silent_gives_up_its_place(void **unused)
{
    struct buf heard = {0};
    bool open = true;
    int held[128], late;
    int64_t end_us;

    (void)unused;
    start();
    for (size_t i = 0; i < 128; i++) {
        held[i] = dial();
        turn();
    }
    late = dial();
    while (open)
        hear(late, &heard, &open);
    assert_int_equal(buf_append_u8(&heard, 0), 0);
    assert_non_null(strstr((const char *)heard.p, "\"busy\""));
    close(late);
    buf_fini(&heard);

    end_us = clock_mono_us() + 1200000;
    while (clock_mono_us() < end_us)
        turn();
    say(held[0], help, strlen(help)); /* not silent */
    open = true;
    while (count_lines(&heard) < 1)
        hear(held[0], &heard, &open);
    late = dial();
    say(late, help, strlen(help));
    buf_fini(&heard);
    while (count_lines(&heard) < 1)
        hear(late, &heard, &open);
    assert_true(open);
    buf_fini(&heard);
    while (open) /* the longest silent one */
        hear(held[1], &heard, &open);
    open = true;
    hear(held[0], &heard, &open);
    assert_true(open);
    close(late);
    for (size_t i = 0; i < 128; i++)
        close(held[i]);
    buf_fini(&heard);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make, clean)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(it_is_for_owner_and_group),
        TEST(a_stale_socket_is_replaced),
        TEST(a_socket_that_is_served_is_left_alone),
        TEST(a_file_in_its_place_is_left_alone),
        TEST(an_unknown_group_is_named),
        TEST(lines_may_come_cut_anywhere_or_many_at_once),
        TEST(the_last_line_needs_no_newline_when_the_client_has_ended),
        TEST(a_line_without_end_is_refused),
        TEST(who_does_not_read_is_not_read_from_but_gets_every_reply),
        TEST(clients_do_not_wait_for_each_other),
        TEST(who_is_silent_gives_up_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
