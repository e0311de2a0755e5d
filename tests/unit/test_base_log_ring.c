/* The latest lines in memory: what is kept, what has gone, and threads that say them. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/log_ring.h"
#include "base/pile.h"

/* Room for fewer than n lines: each keeps more beside its record. */
#define ROOM(n) ((n) * sizeof(struct log_record))

static void add(unsigned n)
{
    char pairs[64];
    struct log_record r = {.wall_ms = n, .sub = LOG_MQTT, .level = LOG_WARN_, .event = "said"};

    r.n = (size_t)snprintf(pairs, sizeof(pairs), "n=%u", n);
    r.pairs = pairs;
    log_ring_add(&r);
}

struct got {
    unsigned count, most;
    uint64_t first, last;
    unsigned first_n, last_n;
};

static bool look(void *arg, uint64_t seq, const struct log_record *r)
{
    struct got *g = arg;
    char text[32];
    unsigned n = 0;

    snprintf(text, sizeof(text), "%.*s", (int)r->n, r->pairs);
    assert_int_equal(sscanf(text, "n=%u", &n), 1);
    assert_string_equal(r->event, "said");
    assert_int_equal(r->wall_ms, n);
    if (g->count++ == 0) {
        g->first = seq;
        g->first_n = n;
    }
    g->last = seq;
    g->last_n = n;
    return g->count < g->most;
}

static struct got walk(uint64_t from, bool back, unsigned most)
{
    struct got g = {.most = most};

    log_ring_walk(from, back, look, &g);
    return g;
}

static int emptied(void **unused)
{
    (void)unused;
    log_ring_set_bytes(0);
    return 0;
}

static void the_latest_are_kept(void **unused)
{
    uint64_t first, next;
    struct got g;

    (void)unused;
    add(1); /* not wanted: 0 bytes */
    log_ring_set_bytes(ROOM(60));
    log_ring_range(&first, &next);
    assert_int_equal(first, next);
    for (unsigned i = 1; i <= 10; i++)
        add(i);
    log_ring_settle();
    log_ring_range(&first, &next);
    assert_int_equal(next - first, 10);
    g = walk(first, false, 100);
    assert_int_equal(g.count, 10);
    assert_int_equal(g.first_n, 1);
    assert_int_equal(g.last_n, 10);
    g = walk(first + 4, false, 3);
    assert_int_equal(g.first_n, 5);
    assert_int_equal(g.last_n, 7);
    g = walk(next, true, 2);
    assert_int_equal(g.first_n, 10);
    assert_int_equal(g.last_n, 9);
    for (unsigned i = 11; i <= 1000; i++) {
        add(i);
        log_ring_settle();
    }
    log_ring_range(&first, &next);
    g = walk(0, false, 10000);
    assert_int_equal(g.first, first);
    assert_int_equal(g.last_n, 1000);
    assert_int_equal(g.last_n - g.first_n, g.last - g.first);
    assert_true(g.count > 10 && g.count < 60);
    log_ring_set_bytes(ROOM(15));
    assert_true(walk(0, false, 10000).count < g.count);
    log_ring_set_bytes(0);
    assert_int_equal(walk(0, false, 10000).count, 0);
}

/* A main thread that stands still: what is beyond the bound is counted. */
static void who_is_not_taken_up_is_counted(void **unused)
{
    uint64_t before = log_ring_missed(), first, next;

    (void)unused;
    log_ring_set_bytes(ROOM(100));
    for (unsigned i = 1; i <= 1000; i++)
        add(i);
    log_ring_settle();
    log_ring_range(&first, &next);
    assert_true(log_ring_missed() - before > 900);
    assert_int_equal(log_ring_missed() - before + (next - first), 1000);
    add(1001);
    log_ring_settle();
    assert_int_equal(walk(0, false, 10000).last_n, 1001);
}

#define THREADS 4
#define EACH    5000

static void *say(void *arg)
{
    for (unsigned i = 0; i < EACH; i++)
        add(*(unsigned *)arg * EACH + i);
    return NULL;
}

struct order {
    unsigned last[THREADS], seen;
};

static bool in_order(void *arg, uint64_t seq, const struct log_record *r)
{
    struct order *o = arg;
    unsigned t = (unsigned)r->wall_ms / EACH, n = (unsigned)r->wall_ms % EACH + 1;

    (void)seq;
    assert_true(n > o->last[t]);
    o->last[t] = n;
    o->seen++;
    return true;
}

/* Each thread's lines stand in its order, none twice, none torn. */
static void threads_keep_their_order(void **unused)
{
    unsigned number[THREADS];
    pthread_t threads[THREADS];
    struct order o = {.seen = 0};
    uint64_t missed = log_ring_missed();

    (void)unused;
    log_ring_set_bytes(64 << 20);
    for (unsigned i = 0; i < THREADS; i++) {
        number[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, say, &number[i]), 0);
    }
    for (unsigned i = 0; i < 200; i++)
        log_ring_settle();
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_ring_settle();
    log_ring_walk(0, false, in_order, &o);
    assert_int_equal(o.seen + (log_ring_missed() - missed), THREADS * EACH);
}

static void a_pile_has_its_bounds(void **unused)
{
    struct pile p = {.top = NULL};
    struct pile_item items[4] = {{.bytes = 10}, {.bytes = 10}, {.bytes = 10}, {.bytes = 100}};
    struct list l;

    (void)unused;
    list_init(&l);
    assert_true(pile_empty(&p));
    assert_true(pile_put(&p, &items[0], 2, 1000));
    assert_false(pile_put(&p, &items[3], 2, 50));
    assert_true(pile_put(&p, &items[1], 2, 1000));
    assert_false(pile_put(&p, &items[2], 2, 1000));
    pile_take(&p, &l);
    assert_ptr_equal(l.next, &items[0].link);
    assert_ptr_equal(l.next->next, &items[1].link);
    assert_false(pile_put(&p, &items[2], 2, 1000)); /* taken, but not done */
    pile_done(&p, &items[0]);
    assert_true(pile_put(&p, &items[2], 2, 1000));
    pile_take(&p, &l); /* behind the one that is there */
    assert_ptr_equal(l.prev, &items[2].link);
    pile_done(&p, &items[1]);
    pile_done(&p, &items[2]);
    assert_true(pile_empty(&p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_latest_are_kept, emptied, emptied),
        cmocka_unit_test_setup_teardown(who_is_not_taken_up_is_counted, emptied, emptied),
        cmocka_unit_test_setup_teardown(threads_keep_their_order, emptied, emptied),
        cmocka_unit_test(a_pile_has_its_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
