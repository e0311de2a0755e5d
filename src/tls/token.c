/* The list of tokens, and the thread of each. */
#include "tls/token.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/str.h"
#include "tls/ctx.h"
#include "tls/token_inside.h"

#define PROBE_MS 1000u /* between two looks at a token in trouble */
#define END_S    2     /* how long the end waits for a token that does not answer */

/* Tokens stay until the end of the process, listed or not: keys point to them. */
static struct {
    pthread_mutex_t lock; /* guards the list; tokens guard themselves */
    struct list list;
} tokens = {.lock = PTHREAD_MUTEX_INITIALIZER, .list = {&tokens.list, &tokens.list}};

static _Thread_local struct token *self; /* whose thread this is */

bool token_is_mine(const struct token *t)
{
    return self == t;
}

/* -- the thread ------------------------------------------------------------------------------ */

/* Run the next task.  With the lock. */
static void run_next(struct token *t)
{
    struct token_task *task = list_entry(t->queue.next, struct token_task, link);

    list_del(&task->link);
    task->state = TASK_RUNNING;
    t->busy_since_us = clock_mono_us();
    pthread_mutex_unlock(&t->lock);
    task->run(task);
    pthread_mutex_lock(&t->lock);
    t->busy_since_us = 0;
    task->state = TASK_DONE;
    if (!task->disowned) {
        task->done(task); /* may be freed from here on */
        return;
    }
    pthread_mutex_unlock(&t->lock);
    task->drop(task);
    pthread_mutex_lock(&t->lock);
}

static void *token_main(void *arg)
{
    struct token *t = arg;

    self = t;
    pthread_mutex_lock(&t->lock);
    while (!t->ending) {
        if (list_empty(&t->queue))
            pthread_cond_wait(&t->wake, &t->lock);
        else
            run_next(t);
    }
    pthread_mutex_unlock(&t->lock);
    session_close(t);
    tls_thread_fini();
    return NULL;
}

/* With the lock.  Signals are the main thread's. */
static void begin_thread(struct token *t)
{
    sigset_t all, was;

    if (t->has_thread)
        return;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &was);
    t->has_thread = pthread_create(&t->thread, NULL, token_main, t) == 0;
    pthread_sigmask(SIG_SETMASK, &was, NULL);
}

void token_post(struct token *t, struct token_task *task)
{
    pthread_mutex_lock(&t->lock);
    begin_thread(t); /* without it the task waits for its timeout, and the next one tries again */
    task->state = TASK_QUEUED;
    task->disowned = false;
    list_add(&t->queue, &task->link);
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
}

bool token_disown(struct token *t, struct token_task *task)
{
    bool mine;

    pthread_mutex_lock(&t->lock);
    mine = task->state != TASK_RUNNING;
    if (task->state == TASK_QUEUED)
        list_del(&task->link);
    task->disowned = !mine;
    pthread_mutex_unlock(&t->lock);
    return mine;
}

/* -- calls that are waited for ------------------------------------------------------------------
 */

static void call_run(struct token_task *task)
{
    struct token_call *c = list_entry(task, struct token_call, task);

    c->run(c);
}

static void call_done(struct token_task *task)
{
    struct token_call *c = list_entry(task, struct token_call, task);

    c->over = true;
    pthread_cond_broadcast(&c->token->replied);
}

static void call_drop(struct token_task *task)
{
    struct token_call *c = list_entry(task, struct token_call, task);

    c->free(c);
}

static void deadline(struct timespec *out, unsigned in_ms)
{
    clock_gettime(CLOCK_MONOTONIC, out);
    out->tv_sec += in_ms / 1000;
    out->tv_nsec += (long)(in_ms % 1000) * 1000000;
    if (out->tv_nsec >= 1000000000) {
        out->tv_sec++;
        out->tv_nsec -= 1000000000;
    }
}

bool token_ask(struct token *t, struct token_call *c, unsigned ms, struct token_trouble *out)
{
    struct timespec until;
    int rc = 0;
    bool over;

    c->token = t;
    c->task = (struct token_task){.run = call_run, .done = call_done, .drop = call_drop};
    token_post(t, &c->task);
    pthread_mutex_lock(&t->lock);
    deadline(&until, ms != 0 ? ms : t->timeout_ms);
    while (!c->over && rc == 0)
        rc = pthread_cond_timedwait(&t->replied, &t->lock, &until);
    over = c->over;
    pthread_mutex_unlock(&t->lock);
    if (over)
        return true;
    trouble_set(out, "silent", "look at the token and the service behind its module",
                "token %s: did not answer in time", t->name);
    if (!token_disown(t, &c->task))
        return false; /* it is dropped when it ends */
    if (c->over)
        return true;
    c->free(c);
    return false;
}

/* -- its state ------------------------------------------------------------------------------- */

static enum token_state state_of(const struct token_trouble *trouble)
{
    static const struct {
        const char *what;
        enum token_state state;
    } states[] = {
        {"absent", TOKEN_ABSENT},
        {"module", TOKEN_NO_MODULE},
        {"login", TOKEN_NO_LOGIN},
        {"silent", TOKEN_SILENT},
    };

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        if (strcmp(trouble->what, states[i].what) == 0)
            return states[i].state;
    return TOKEN_FAILED;
}

const char *token_state_name(enum token_state state)
{
    static const char *const names[] = {
        [TOKEN_UNTRIED] = "untried",     [TOKEN_READY] = "ready",       [TOKEN_ABSENT] = "absent",
        [TOKEN_NO_MODULE] = "no-module", [TOKEN_NO_LOGIN] = "no-login", [TOKEN_FAILED] = "failed",
        [TOKEN_SILENT] = "silent",
    };

    return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

void token_note(struct token *t, bool counts, int64_t took_us, const struct token_trouble *trouble)
{
    uint64_t us = took_us < 0 ? 0 : (uint64_t)took_us;

    pthread_mutex_lock(&t->lock);
    if (counts) {
        t->status.operations++;
        t->status.failures += trouble->what != NULL;
        t->status.us_sum += us;
        if (us > t->status.us_max)
            t->status.us_max = us;
    }
    if (trouble_is_of_token(trouble)) {
        t->trouble = *trouble;
        t->status.state = state_of(trouble);
        snprintf(t->status.text, sizeof(t->status.text), "%.220s: %.170s", trouble->text,
                 trouble->remedy);
    } else {
        t->trouble = (struct token_trouble){0};
        t->status.state = TOKEN_READY;
        t->status.text[0] = '\0';
    }
    t->probed_ms = clock_boot_ms();
    pthread_mutex_unlock(&t->lock);
}

/* With the lock. */
static bool is_silent(const struct token *t)
{
    return t->busy_since_us != 0 &&
           clock_mono_us() - t->busy_since_us > (int64_t)t->timeout_ms * 1000;
}

static void say_silent(const struct token *t, struct token_trouble *out)
{
    trouble_set(out, "silent",
                "look at the token and at the service behind its module; what was asked is still "
                "being waited for",
                "token %s: has not answered for more than %u ms", t->name, t->timeout_ms);
}

static void probe_run(struct token_task *task)
{
    struct token *t = list_entry(task, struct token, probe);
    struct token_trouble trouble = {0};

    session_close(t);
    session_open(t, &trouble);
    token_note(t, false, 0, &trouble);
}

static void probe_done(struct token_task *task)
{
    list_entry(task, struct token, probe)->probing = false;
}

/* What is configured no longer has no business in the token; who still holds a key of it opens it
 * again. */
static void leave_run(struct token_task *task)
{
    session_close(list_entry(task, struct token, leave));
}

static void leave_done(struct token_task *task)
{
    (void)task;
}

static void token_leave(struct token *t)
{
    bool idle;

    pthread_mutex_lock(&t->lock);
    idle = t->has_thread && (t->leave.state == TASK_IDLE || t->leave.state == TASK_DONE);
    pthread_mutex_unlock(&t->lock);
    if (idle)
        token_post(t, &t->leave);
}

bool token_is_usable(struct token *t, struct token_trouble *out)
{
    bool probe = false;
    bool silent;

    pthread_mutex_lock(&t->lock);
    silent = is_silent(t);
    *out = t->trouble;
    if (!silent && out->what != NULL && !t->probing && clock_boot_ms() - t->probed_ms >= PROBE_MS)
        probe = t->probing = true;
    pthread_mutex_unlock(&t->lock);
    if (silent)
        say_silent(t, out);
    if (probe)
        token_post(t, &t->probe);
    return out->what == NULL;
}

/* -- the list -------------------------------------------------------------------------------- */

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static char *copy_of(const char *s, bool *nomem)
{
    char *copy = s == NULL ? NULL : strdup(s);

    *nomem |= s != NULL && copy == NULL;
    return copy;
}

static void token_free(struct token *t)
{
    free(t->name);
    free(t->module);
    free(t->label);
    free(t->serial);
    free(t->pin_file);
    pthread_mutex_destroy(&t->lock);
    pthread_cond_destroy(&t->wake);
    pthread_cond_destroy(&t->replied);
    free(t);
}

static struct token *token_new(const struct token_conf *c)
{
    struct token *t = calloc(1, sizeof(*t));
    pthread_condattr_t attr;
    bool nomem = false;

    if (t == NULL)
        return NULL;
    t->name = copy_of(c->name, &nomem);
    t->module = copy_of(c->module, &nomem);
    t->label = copy_of(c->label, &nomem);
    t->serial = copy_of(c->serial, &nomem);
    t->pin_file = copy_of(c->pin_file, &nomem);
    t->timeout_ms = c->timeout_ms;
    snprintf(t->status.name, sizeof(t->status.name), "%s", c->name);
    list_init(&t->queue);
    list_init(&t->link);
    t->probe = (struct token_task){.run = probe_run, .done = probe_done};
    t->leave = (struct token_task){.run = leave_run, .done = leave_done};
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->wake, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->replied, &attr);
    pthread_condattr_destroy(&attr);
    if (!nomem)
        return t;
    token_free(t);
    return NULL;
}

static struct token *same_token(const struct token_conf *c)
{
    list_for_each (it, &tokens.list) {
        struct token *t = list_entry(it, struct token, link);

        if (strcmp(t->name, c->name) == 0 && strcmp(t->module, c->module) == 0 &&
            is_same_text(t->label, c->label) && is_same_text(t->serial, c->serial) &&
            is_same_text(t->pin_file, c->pin_file))
            return t;
    }
    return NULL;
}

static int take_all(const struct token_conf *confs, size_t n, struct token **chosen,
                    struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        chosen[i] = same_token(&confs[i]);
        if (chosen[i] == NULL && (chosen[i] = token_new(&confs[i])) == NULL)
            return err_set(err, ERR_NOMEM, "out of memory");
        if (list_empty(&chosen[i]->link))
            list_add(&tokens.list, &chosen[i]->link); /* unlisted as yet */
    }
    list_for_each (it, &tokens.list) {
        struct token *t = list_entry(it, struct token, link);
        bool stays = false;

        for (size_t i = 0; i < n; i++)
            stays |= chosen[i] == t;
        if (t->listed && !stays)
            token_leave(t);
        t->listed = stays;
    }
    for (size_t i = 0; i < n; i++) {
        struct token *t = chosen[i];

        t->index = i;
        pthread_mutex_lock(&t->lock);
        t->timeout_ms = confs[i].timeout_ms;
        pthread_mutex_unlock(&t->lock);
    }
    return 0;
}

int tokens_configure(const struct token_conf *confs, size_t n, struct err *err)
{
    struct token **chosen = calloc(n + 1, sizeof(struct token *));
    int rc;

    if (chosen == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    pthread_mutex_lock(&tokens.lock);
    rc = take_all(confs, n, chosen, err);
    pthread_mutex_unlock(&tokens.lock);
    free(chosen);
    return rc;
}

/* True when its thread has ended. */
static bool token_end(struct token *t)
{
    struct timespec until;

    pthread_mutex_lock(&t->lock);
    t->ending = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->lock);
    if (!t->has_thread)
        return true;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += END_S;
    return pthread_timedjoin_np(t->thread, NULL, &until) == 0;
}

void tokens_fini(void)
{
    bool all = true;

    list_for_each_safe (it, &tokens.list) {
        struct token *t = list_entry(it, struct token, link);

        if (!token_end(t)) {
            all = false; /* it is in the middle of its module, which must not be ended then */
            continue;
        }
        list_del(&t->link);
        token_free(t);
    }
    if (all)
        session_modules_fini();
}

bool tokens_status(size_t index, struct token_status *out)
{
    struct token_trouble trouble;
    bool found = false;

    pthread_mutex_lock(&tokens.lock);
    list_for_each (it, &tokens.list) {
        struct token *t = list_entry(it, struct token, link);

        if (!t->listed || t->index != index)
            continue;
        pthread_mutex_lock(&t->lock);
        *out = t->status;
        if (is_silent(t)) {
            say_silent(t, &trouble);
            out->state = TOKEN_SILENT;
            snprintf(out->text, sizeof(out->text), "%.220s: %.170s", trouble.text, trouble.remedy);
        }
        pthread_mutex_unlock(&t->lock);
        found = true;
        break;
    }
    pthread_mutex_unlock(&tokens.lock);
    return found;
}

/* Its label is as configured; where that is left open, as it was found, or our name for it. */
static bool answers_to(struct token *t, const struct pkcs11_uri *uri)
{
    char label[33], serial[33];

    pthread_mutex_lock(&t->lock);
    memcpy(label, t->status.label, sizeof(label));
    memcpy(serial, t->status.serial, sizeof(serial));
    pthread_mutex_unlock(&t->lock);
    return (uri->token[0] == '\0' || strcmp(uri->token, t->label != NULL ? t->label : label) == 0 ||
            (t->label == NULL && strcmp(uri->token, t->name) == 0)) &&
           (uri->serial[0] == '\0' ||
            strcmp(uri->serial, t->serial != NULL ? t->serial : serial) == 0 ||
            (t->serial == NULL && serial[0] == '\0'));
}

struct token *token_for(const struct pkcs11_uri *uri, struct err *err)
{
    struct token *found = NULL;
    unsigned count = 0, listed = 0;

    pthread_mutex_lock(&tokens.lock);
    list_for_each (it, &tokens.list) {
        struct token *t = list_entry(it, struct token, link);

        listed += t->listed;
        if (t->listed && answers_to(t, uri) && count++ == 0)
            found = t;
    }
    pthread_mutex_unlock(&tokens.lock);
    if (count == 1)
        return found;
    if (listed == 0)
        err_set(err, ERR_NOT_FOUND,
                "names a key in a token, and no token is configured: add one to tokens");
    else if (count == 0)
        err_set(err, ERR_NOT_FOUND,
                "names the token \"%.60s\", which is none of those in the configuration (tokens)",
                uri->token[0] != '\0' ? uri->token : uri->serial);
    else
        err_set(err, ERR_INVALID,
                "fits %u of the configured tokens: add token=LABEL, or serial=", count);
    return NULL;
}

struct token *token_named(const char *name, struct err *err)
{
    struct token *found = NULL;

    pthread_mutex_lock(&tokens.lock);
    list_for_each (it, &tokens.list) {
        struct token *t = list_entry(it, struct token, link);

        if (t->listed && strcmp(t->name, name) == 0)
            found = t;
    }
    pthread_mutex_unlock(&tokens.lock);
    if (found == NULL)
        err_set(err, ERR_NOT_FOUND, "there is no token \"%.60s\" in the configuration (tokens)",
                name);
    return found;
}
