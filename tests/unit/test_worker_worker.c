/* Workers as threads: what main tells them, what they tell main, and that they end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/listen.h"
#include "session_world.h"
#include "worker/worker.h"

/* Main's side: the world's loop has the broker, the devices and the inbox of the workers. */
struct staff {
    struct world *w;
    struct inbox box;
    struct worker *workers[2];
    unsigned count, stopped;
    uint64_t sessions; /* of the answers to the latest poll */
    unsigned answers;
    unsigned port;
};

static struct staff the_staff;

static void on_mail(struct inbox *box, struct list *item, void *arg)
{
    struct staff *st = arg;
    struct msg *m = list_entry(item, struct msg, link);
    struct buf *b = &st->w->news;

    (void)box;
    assert_true(m->worker < 2);
    switch (m->kind) {
    case MSG_UP:
        assert_true(m->session_id != 0 && m->u.up.connected_us != 0);
        buf_printf(b, "up %s %s %s %d\n", m->device, m->u.up.listener, m->u.up.client_id,
                   m->u.up.version);
        break;
    case MSG_DOWN:
        buf_printf(b, "down %s: %s\n", m->device, m->u.down.text);
        break;
    case MSG_LEG:
        if (m->u.leg.what == MSG_LEG_ACCEPTED)
            buf_printf(b, "accepted %s%s seq=%u fp=%zu\n", flip_slot_name(m->u.leg.slot),
                       m->u.leg.rehomed ? " rehomed" : "", (unsigned)m->u.leg.flip_seq,
                       strlen(m->u.leg.fp));
        else
            buf_printf(b, "%s %s: %s\n", m->u.leg.what == MSG_LEG_LOST ? "lost" : "failed",
                       flip_slot_name(m->u.leg.slot), diag_class_name(m->u.leg.diag.class));
        break;
    case MSG_REFUSED:
        buf_printf(b, "refused %s at %s: %s\n", m->device, m->u.refused.listener,
                   m->u.refused.code);
        break;
    case MSG_STATS:
        st->answers++;
        st->sessions += m->u.stats.sessions;
        break;
    case MSG_STOPPED:
        st->stopped++;
        break;
    case MSG_CONF:
    case MSG_DEVICE:
    case MSG_DEVICE_GONE:
    case MSG_KICK:
    case MSG_TRIAL_OVER:
    case MSG_POLL:
    case MSG_STOP:
    default:
        fail_msg("a message of main's came to main");
    }
    msg_free(m);
}

/* A port that nobody has at the moment. */
static unsigned free_port(void)
{
    struct err err = {0};
    struct sockaddr_in sin;
    socklen_t len = sizeof sin;
    int fd = listen_tcp("127.0.0.1", 0, true, &err);

    assert_true(fd >= 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
    close(fd);
    return ntohs(sin.sin_port);
}

static struct msg *msg_of(enum msg_kind kind, const char *device)
{
    struct msg *m = msg_new(kind);

    assert_non_null(m);
    snprintf(m->device, sizeof m->device, "%s", device);
    return m;
}

static void to_all(struct staff *st, enum msg_kind kind, const char *device)
{
    for (unsigned i = 0; i < st->count; i++)
        worker_post(st->workers[i], msg_of(kind, device));
}

static void tell_device(struct staff *st, const char *name, enum flip_slot active, uint64_t seq)
{
    const struct device *dev = world_device(st->w, name);

    for (unsigned i = 0; i < st->count; i++) {
        struct msg *m = msg_of(MSG_DEVICE, name);
        m->u.dev.cred[FLIP_OLD] = cred_ref(dev->cred[FLIP_OLD]);
        m->u.dev.cred[FLIP_NEW] = cred_ref(dev->cred[FLIP_NEW]);
        m->u.dev.active = active;
        m->u.dev.flip_seq = seq;
        worker_post(st->workers[i], m);
    }
}

static struct staff *hire(unsigned count)
{
    struct staff *st = &the_staff;
    struct err err = {0};

    *st = (struct staff){.port = free_port()};
    st->w = world_new(&(struct world_args){.port = st->port});
    st->w->port = st->port;
    assert_int_equal(inbox_init(&st->box, &st->w->loop, on_mail, st), 0);
    for (; st->count < count; st->count++) {
        st->workers[st->count] = worker_start(st->count, st->w->env.snap, &st->box, &err);
        if (st->workers[st->count] == NULL)
            fail_msg("%s", err.msg);
    }
    tell_device(st, "d1", FLIP_OLD, 1); /* known before the first connection is accepted */
    for (unsigned i = 0; i < st->count; i++)
        assert_int_equal(worker_run(st->workers[i], &err), 0);
    return st;
}

static void stop(struct staff *st)
{
    to_all(st, MSG_STOP, "");
    world_until(st->w, st->stopped == st->count);
    for (unsigned i = 0; i < st->count; i++)
        worker_join(st->workers[i]);
    st->count = 0;
}

/* A test's teardown. */
static int dismiss(void **state)
{
    if (the_staff.count > 0)
        stop(&the_staff);
    if (the_staff.w != NULL) {
        inbox_drain(&the_staff.box);
        inbox_close(&the_staff.box, NULL);
    }
    the_staff.w = NULL;
    return world_end(state);
}

static uint64_t sessions(struct staff *st)
{
    st->answers = 0;
    st->sessions = 0;
    to_all(st, MSG_POLL, "");
    world_until(st->w, st->answers == st->count);
    return st->sessions;
}

static struct pair open_session(struct staff *st, int version)
{
    struct pair p = {.dev = device_new(st->w, version)};
    char line[64];

    say_connect(p.dev, &world_lasting);
    p.brk = world_broker_accepts(st->w, version, false);
    sees(p.dev, "CONNACK");
    snprintf(line, sizeof line, "up d1 plain d1 %d", version);
    tells(st->w, line);
    tells(st->w, "accepted old seq=1 fp=64");
    return p;
}

static void session_of_a_worker_lives_and_is_told(void **unused)
{
    struct staff *st = hire(2);
    struct pair p = open_session(st, MQTT_V311);

    (void)unused;
    assert_int_equal(sessions(st), 1);
    quiet(&p);
    say_disconnect(p.dev, 0, NULL);
    sees(p.brk, "DISCONNECT");
    tells(st->w, "down d1: the device left");
    sees_end(p.brk);
    while (sessions(st) != 0)
        ;
}

static void main_decides_and_the_worker_moves_the_session(void **unused)
{
    struct staff *st = hire(2);
    struct pair p = open_session(st, MQTT_V311);

    (void)unused;
    tell_device(st, "d1", FLIP_NEW, 2);
    sees(p.brk, "PINGREQ");
    say_ping(p.brk, MQTT_PINGRESP);
    p.brk = world_broker_accepts(st->w, MQTT_V311, true);
    assert_string_equal(p.brk->cn, "new");
    tells(st->w, "accepted new rehomed seq=2 fp=64");
    quiet(&p);
}

static void unknown_device_is_told(void **unused)
{
    struct staff *st = hire(1);
    struct end *dev = device_new(st->w, MQTT_V311);
    struct mqtt_connect c = {.client_id = slice_of("d2")}; /* no worker was told of it */

    (void)unused;
    say_connect(dev, &c);
    sees(dev, "CONNACK 0x05");
    sees_end(dev);
    tells(st->w, "refused  at plain: no-identity");
}

static void kick_ends_the_sessions_of_a_device(void **unused)
{
    struct staff *st = hire(2);
    struct pair p = open_session(st, MQTT_V5);

    (void)unused;
    for (unsigned i = 0; i < st->count; i++) {
        struct msg *m = msg_of(MSG_KICK, "d1");
        snprintf(m->u.kick.text, sizeof m->u.kick.text, "by command");
        worker_post(st->workers[i], m);
    }
    sees(p.dev, "DISCONNECT 0x98");
    sees_end(p.dev);
    tells(st->w, "down d1: by command");
}

static void kick_of_another_session_leaves_it_alone(void **unused)
{
    struct staff *st = hire(1);
    struct pair p = open_session(st, MQTT_V5);
    struct msg *m = msg_of(MSG_KICK, "d1");

    (void)unused;
    m->session_id = 1234567;
    worker_post(st->workers[0], m);
    assert_int_equal(sessions(st), 1);
    quiet(&p);
}

static void removed_device_is_disconnected_and_unknown(void **unused)
{
    struct staff *st = hire(2);
    struct pair p = open_session(st, MQTT_V5);

    (void)unused;
    to_all(st, MSG_DEVICE_GONE, "d1");
    to_all(st, MSG_DEVICE_GONE, "never-heard-of");
    sees(p.dev, "DISCONNECT 0x87");
    tells(st->w, "down d1: the device was removed");
    struct end *again = device_new(st->w, MQTT_V311);
    say_connect(again, &world_lasting);
    sees(again, "CONNACK 0x05");
    tells(st->w, "refused  at plain: no-identity");
}

/* A reload closes what is gone from the file, opens what is new, and cuts nobody. */
static void reload_moves_the_listener_and_keeps_the_session(void **unused)
{
    struct staff *st = hire(1);
    struct pair p = open_session(st, MQTT_V311);
    unsigned port = free_port();
    struct wk_snapshot *snap = world_configure(st->w, &(struct world_args){.port = port});
    struct err err = {0};

    (void)unused;
    assert_int_equal(worker_check_listeners(st->w->env.snap->conf, snap->conf, &err), 0);
    for (unsigned i = 0; i < st->count; i++) {
        struct msg *m = msg_of(MSG_CONF, "");
        m->u.conf = snapshot_ref(snap);
        worker_post(st->workers[i], m);
    }
    snapshot_unref(snap);
    assert_int_equal(sessions(st), 1); /* it has read it */
    quiet(&p);
    int fd = listen_tcp("127.0.0.1", (uint16_t)st->port, true, &err);
    assert_true(fd >= 0); /* the former port is free */
    close(fd);
    st->w->port = port;
    struct end *dev = device_new(st->w, MQTT_V311);
    say_connect(dev, &world_lasting);
    tells(st->w, "down d1: a new connection of the device has taken over");
    tells(st->w, "up d1 plain d1 4");
}

static void stop_says_goodbye_on_both_sides(void **unused)
{
    struct staff *st = hire(2);
    struct pair p = open_session(st, MQTT_V5);

    (void)unused;
    stop(st);
    sees(p.dev, "DISCONNECT 0x8b");
    sees_end(p.dev);
    struct mqtt_packet bye = end_packet(p.brk, __FILE__, __LINE__);
    assert_int_equal(bye.type, MQTT_DISCONNECT);
    sees_end(p.brk);
    tells(st->w, "down d1: certflipd stops");
}

static void a_worker_that_never_ran_is_freed_with_its_mail(void **unused)
{
    struct staff *st = hire(1);
    struct err err = {0};
    struct wk_snapshot *other = world_configure(st->w, &(struct world_args){.port = free_port()});
    struct worker *w = worker_start(1, other, &st->box, &err);

    (void)unused;
    assert_non_null(w);
    worker_post(w, msg_new(MSG_POLL));
    worker_post(w, msg_new(MSG_STOP));
    worker_join(w);
    snapshot_unref(other);
}

static void port_in_use_is_an_error_at_start(void **unused)
{
    struct staff *st = hire(1);
    struct err err = {0};
    char text[200];

    (void)unused;
    assert_null(worker_start(0, st->w->env.snap, &st->box, &err));
    snprintf(text, sizeof text,
             "listener plain: 127.0.0.1 port %u: Address already in use: another program has the "
             "port: see `ss -ltnp`, or choose another",
             st->port);
    assert_string_equal(err.msg, text);
    struct wk_snapshot *other = world_configure(st->w, &(struct world_args){.port = free_port()});
    err.msg[0] = '\0';
    assert_true(worker_check_listeners(other->conf, st->w->env.snap->conf, &err) < 0);
    assert_string_equal(err.msg, text);
    snapshot_unref(other);
}

static void messages_release_what_they_carry(void **unused)
{
    struct world *w = world_new(NULL);
    struct msg *m = msg_of(MSG_CONF, "");

    (void)unused;
    the_staff = (struct staff){0};
    msg_free(NULL);
    m->u.conf = snapshot_ref(w->env.snap);
    msg_free(m);
    m = msg_of(MSG_DEVICE, "d1");
    m->u.dev.cred[FLIP_NEW] = cred_ref(world_device(w, "d1")->cred[FLIP_NEW]);
    msg_free(m); /* ASan tells what was forgotten */
}

#define staffed(test) cmocka_unit_test_teardown(test, dismiss)

int main(void)
{
    const struct CMUnitTest tests[] = {
        staffed(session_of_a_worker_lives_and_is_told),
        staffed(main_decides_and_the_worker_moves_the_session),
        staffed(unknown_device_is_told),
        staffed(kick_ends_the_sessions_of_a_device),
        staffed(kick_of_another_session_leaves_it_alone),
        staffed(removed_device_is_disconnected_and_unknown),
        staffed(reload_moves_the_listener_and_keeps_the_session),
        staffed(stop_says_goodbye_on_both_sides),
        staffed(a_worker_that_never_ran_is_freed_with_its_mail),
        staffed(port_in_use_is_an_error_at_start),
        staffed(messages_release_what_they_carry),
    };

    return cmocka_run_group_tests(tests, world_setup, world_teardown);
}
