/* Many senders, one receiver: order per sender, nothing lost, nothing after the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "net/inbox.h"

#define SENDERS 8
#define ITEMS   20000

struct item {
    struct list link;
    unsigned sender, number;
};

struct receiver {
    struct inbox box;
    unsigned next[SENDERS]; /* the number that is due of each */
    unsigned count, wrong;
    unsigned until; /* close when so many are here */
    bool closed;
};

static void on_closed(struct inbox *box)
{
    struct receiver *r = box->arg;

    r->closed = true;
}

static void on_mail(struct inbox *box, struct list *link, void *arg)
{
    struct receiver *r = arg;
    struct item *item = list_entry(link, struct item, link);

    r->wrong += item->number != r->next[item->sender];
    r->next[item->sender] = item->number + 1;
    free(item);
    if (++r->count == r->until)
        inbox_close(box, on_closed);
}

static void post(struct receiver *r, unsigned sender, unsigned number)
{
    struct item *item = malloc(sizeof *item);

    if (item == NULL)
        abort();
    *item = (struct item){.sender = sender, .number = number};
    inbox_post(&r->box, &item->link);
}

struct sender {
    struct receiver *r;
    unsigned number;
};

static void *send_all(void *arg)
{
    const struct sender *s = arg;

    for (unsigned i = 0; i < ITEMS; i++)
        post(s->r, s->number, i);
    return NULL;
}

/* The receiver closes as soon as it has the last item: the sender's wake-up may still be under way,
 * which a thread sanitizer sees. */
static void many_senders_keep_their_order_and_lose_nothing(void **unused)
{
    struct receiver r = {.until = SENDERS * ITEMS};
    struct sender senders[SENDERS];
    pthread_t threads[SENDERS];
    uv_loop_t loop;

    (void)unused;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&r.box, &loop, on_mail, &r), 0);
    for (unsigned i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){&r, i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_all, &senders[i]), 0);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    for (unsigned i = 0; i < SENDERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(r.next[i], ITEMS);
    }
    assert_int_equal(r.wrong, 0);
    assert_int_equal(r.count, SENDERS * ITEMS);
    assert_true(r.closed);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* What is posted before the loop runs is there when it does; and can be taken without it. */
static void drain_delivers_without_the_loop(void **unused)
{
    struct receiver r = {.until = 5};
    uv_loop_t loop;

    (void)unused;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&r.box, &loop, on_mail, &r), 0);
    inbox_drain(&r.box); /* nothing there */
    assert_int_equal(r.count, 0);
    for (unsigned i = 0; i < 3; i++)
        post(&r, 0, i);
    inbox_drain(&r.box);
    assert_int_equal(r.count, 3);
    uv_run(&loop, UV_RUN_NOWAIT); /* the wake-up finds nothing */
    assert_int_equal(r.count, 3);
    post(&r, 0, 3);
    post(&r, 0, 4);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(r.count, 5);
    assert_int_equal(r.wrong, 0);
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* A receiver may post to itself while it receives: that comes later, not never. */
static void answer(struct inbox *box, struct list *link, void *arg)
{
    struct receiver *r = arg;
    struct item *item = list_entry(link, struct item, link);
    unsigned number = item->number;

    free(item);
    r->count++;
    if (number < 100)
        post(r, 0, number + 1);
    else
        inbox_close(box, NULL);
}

static void receiver_may_post_to_itself(void **unused)
{
    struct receiver r = {0};
    uv_loop_t loop;

    (void)unused;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(inbox_init(&r.box, &loop, answer, &r), 0);
    post(&r, 0, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(r.count, 101);
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_senders_keep_their_order_and_lose_nothing),
        cmocka_unit_test(drain_delivers_without_the_loop),
        cmocka_unit_test(receiver_may_post_to_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
