/* test_control_later.c - methods that answer later: the others go on meanwhile, a repetition does
 * not run twice, and an end of the daemon leaves nothing behind. */
#include "test_control_world.h"

#include <jansson.h>

#include "control/dispatch_inside.h"

static const struct caller operator= {.who = "tester", .operate = true, .remember = NULL};
static const struct caller central = {.who = "central", .operate = true, .remember = "central"};

/* The method quarantine.clear, with work that lasts until the gate is opened. */
static struct {
    bool later;
    uv_sem_t gate;
    unsigned works, ends, orphans;
} slow;

static void work(void *arg)
{
    assert_ptr_equal(arg, &slow);
    uv_sem_wait(&slow.gate);
    slow.works++;
}

static void done(struct call *c, void *arg)
{
    assert_ptr_equal(arg, &slow);
    if (c == NULL) {
        slow.orphans++;
        return;
    }
    slow.ends++;
    c->result = json_pack("{s:i}", "ends", (int)slow.ends);
    call_end(c);
}

int __real_do_quarantine_clear(struct call *c);
int __wrap_do_quarantine_clear(struct call *c);

int __wrap_do_quarantine_clear(struct call *c)
{
    return slow.later ? call_later(c, work, done, &slow) : __real_do_quarantine_clear(c);
}

/* What became of one text. */
struct said {
    bool answered;
    char *text; /* owned */
};

static void on_reply(void *arg, char *text)
{
    struct said *s = arg;

    assert_false(s->answered);
    s->answered = true;
    s->text = text;
}

static struct said say(struct world *w, const char *text)
{
    struct said s = {0};

    dispatch_text(&w->dispatch, &operator, text, strlen(text), on_reply, &s);
    assert_true(s.answered);
    return s;
}

static void expect(struct said *s, const char *part)
{
    assert_true(s->answered);
    if (part == NULL) {
        assert_null(s->text);
    } else {
        assert_non_null(s->text);
        if (strstr(s->text, part) == NULL)
            fail_msg("%s is not in %s", part, s->text);
    }
    free(s->text);
    *s = (struct said){0};
}

static void begin(struct world *w, uv_loop_t *loop)
{
    world_device(w, "press", 1, 2);
    world_start(w);
    uv_loop_init(loop);
    w->dispatch.loop = loop;
    memset(&slow, 0, sizeof(slow));
    uv_sem_init(&slow.gate, 0);
    slow.later = true;
}

static void end(uv_loop_t *loop)
{
    uv_run(loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(loop), 0);
    uv_sem_destroy(&slow.gate);
    slow.later = false;
}

#define CLEAR(id)                                                                    \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"quarantine.clear\",\"params\":" \
    "{\"target\":\"press\"}}"
#define STATUS(id) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"status\"}"

static void ask(struct world *w, const struct caller *caller, const char *text, struct said *s)
{
    dispatch_text(&w->dispatch, caller, text, strlen(text), on_reply, s);
}

/* Others are served while it is under way; it is audited when it has ended. */
static void the_others_go_on(void **state)
{
    struct world *w = *state;
    struct said first = {0}, second = {0}, s;
    uv_loop_t loop;

    begin(w, &loop);
    ask(w, &operator, CLEAR("1"), &first);
    ask(w, &operator, CLEAR("1"), &second); /* on the control socket ids say nothing */
    assert_false(first.answered || second.answered);
    s = say(w, STATUS("2"));
    expect(&s, "\"gateway\"");
    s = say(w, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"audit.list\"}");
    assert_null(strstr(s.text, "quarantine.clear"));
    expect(&s, "\"entries\"");
    assert_int_equal(slow.works, 0);
    uv_sem_post(&slow.gate);
    while (!first.answered)
        uv_run(&loop, UV_RUN_ONCE);
    assert_false(second.answered);
    uv_sem_post(&slow.gate);
    end(&loop);
    expect(&first, "\"ends\":1");
    expect(&second, "\"ends\":2");
    s = say(w, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"audit.list\"}");
    expect(&s, "quarantine.clear");
}

/* A request that comes again while the first is under way is answered with it, one of the same id
 * that asks for something else is refused, and what comes afterwards gets what was kept. */
static void a_repetition_waits_for_the_first(void **state)
{
    struct world *w = *state;
    struct said first = {0}, again = {0}, other = {0}, late = {0};
    uv_loop_t loop;

    begin(w, &loop);
    ask(w, &central, CLEAR("7"), &first);
    ask(w, &central, CLEAR("7"), &again);
    ask(w, &central,
        "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"flip\",\"params\":{\"target\":\"press\"}}",
        &other);
    expect(&other, "\"id-reused\"");
    assert_false(first.answered || again.answered);
    uv_sem_post(&slow.gate);
    end(&loop);
    assert_int_equal(slow.works, 1);
    expect(&first, "\"ends\":1");
    expect(&again, "\"ends\":1");
    slow.later = true; /* nobody asks for it */
    ask(w, &central, CLEAR("7"), &late);
    expect(&late, "\"ends\":1");
    slow.later = false;
}

/* One after the other, whatever waits. */
static void a_batch_keeps_its_order(void **state)
{
    struct world *w = *state;
    struct said all = {0};
    const char *a, *b, *c;
    uv_loop_t loop;

    begin(w, &loop);
    ask(w, &operator, "[" STATUS("11") "," CLEAR("12") "," CLEAR("13") "," STATUS("14") "]", &all);
    assert_false(all.answered);
    uv_sem_post(&slow.gate);
    uv_sem_post(&slow.gate);
    end(&loop);
    a = strstr(all.text, "\"id\":11");
    b = strstr(all.text, "\"ends\":1");
    c = strstr(all.text, "\"ends\":2");
    assert_true(a != NULL && b != NULL && c != NULL && a < b && b < c &&
                c < strstr(all.text, "\"id\":14"));
    expect(&all, "[{");
}

/* Who has many devices to do says every second how far it is; the end is told by the reply. */
static void a_long_way_is_told_in_parts(void **state)
{
    struct world *w = *state;
    struct said all = {0};
    unsigned turns = 0;
    uv_loop_t loop;
    char name[32];

    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "d-%02d", i);
        world_device(w, name, 1, 2);
    }
    begin(w, &loop);
    world_forget(w);
    ask(w, &central,
        "{\"jsonrpc\":\"2.0\",\"id\":\"c-1\",\"method\":\"identity.discard\",\"params\":{"
        "\"target\":\"d-*\"}}",
        &all);
    while (!all.answered) {
        w->now_ms += turns++ == 0 ? 999 : 1000; /* the first turn is a millisecond too early */
        uv_run(&loop, UV_RUN_ONCE);
    }
    buf_append_u8(&w->trace, 0);
    assert_null(strstr((const char *)w->trace.p, "c-1\": 8 done"));
    assert_non_null(strstr((const char *)w->trace.p,
                           "identity.discard \"c-1\": 16 done, 0 refused of 20 by central"));
    assert_null(strstr((const char *)w->trace.p, "20 done"));
    world_forget(w);
    end(&loop);
    expect(&all, "\"done\":20");
}

/* Who waits is told at once; what a thread has begun ends, and nothing comes of it. */
static void an_end_of_the_daemon_leaves_nothing_behind(void **state)
{
    struct world *w = *state;
    struct said first = {0}, second = {0}, again = {0}, all = {0}, late = {0};
    uv_loop_t loop;

    begin(w, &loop);
    ask(w, &central, CLEAR("7"), &first);
    ask(w, &central, CLEAR("7"), &again);
    ask(w, &central, CLEAR("8"), &second);
    ask(w, &operator, "[" STATUS("1") "," CLEAR("2") "," STATUS("3") "]", &all);
    dispatch_stop(&w->dispatch);
    expect(&first, NULL);
    expect(&again, NULL);
    expect(&second, NULL);
    expect(&all, NULL);
    ask(w, &operator, STATUS("1"), &late);
    expect(&late, NULL);
    uv_sem_post(&slow.gate);
    end(&loop);
    assert_int_equal(slow.works, 1);
    assert_int_equal(slow.orphans, 3);
    assert_int_equal(slow.ends, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, world_make, world_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_others_go_on),
        TEST(a_repetition_waits_for_the_first),
        TEST(a_batch_keeps_its_order),
        TEST(a_long_way_is_told_in_parts),
        TEST(an_end_of_the_daemon_leaves_nothing_behind),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
