/* daemon/main.c - certflipd: everything is started in order and ended in reverse.
 *
 * Order matters at the start: the workers' sockets are bound, and the identities read, before
 * anything is written or told, so that a start that fails changes nothing; a worker runs when it
 * has been told of all devices, so that none of them is turned away; at the end: nobody new, then
 * the management client's goodbye (a worker carries it), then the workers, then the store.
 */
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>
#include <uv.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/log.h"
#include "base/log_sink.h"
#include "base/secret.h"
#include "control/central.h"
#include "control/chains.h"
#include "control/crls.h"
#include "control/dispatch.h"
#include "control/hub.h"
#include "control/local.h"
#include "control/operators.h"
#include "control/reload.h"
#include "control/token_watch.h"
#include "control/trust.h"
#include "daemon/notify.h"
#include "net/inbox.h"
#include "status/status.h"
#include "store/store.h"
#include "tls/ctx.h"
#include "tls/keyring.h"
#include "tls/token.h"
#include "worker/worker.h"

#define EXIT_START  2     /* it could not be started */
#define EXIT_RUN    1     /* it ran, and could not go on */
#define POLL_MS     1000  /* between two questions for the workers' counters */
#define LOG_MS      20    /* until lines that wait for room are tried again */
#define LOG_END_MS  500   /* for them at the end */
#define STOP_MS     10000 /* for the workers to end their sessions */
#define FILES_SPARE 200   /* beside those of devices: the store, control, HTTP, listeners */
#define FOREVER_MS  (INT64_C(24) * 3600 * 1000)

struct daemon {
    char boot[40];       /* which boot of the machine this is */
    const char *path;    /* of the configuration */
    int64_t crls_said_s; /* for crls_watch */
    int64_t chains_said; /* for chains_watch */
    uv_loop_t loop;
    struct inbox inbox;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t wake, poll, watchdog, bound, log;
    uv_check_t check;  /* after each round of the loop: what was decided in it is carried out */
    struct conf *conf; /* owned; that of the start */
    struct err keys;   /* why the passphrase of keys is not to be had; code 0: it is */
    struct wk_snapshot *snapshot; /* owned; that of the start */
    struct store *store;
    struct hub *hub;
    struct dispatch dispatch;
    struct local *local;
    struct central *central;
    struct status *status_page;
    struct worker **workers;        /* owned */
    unsigned worker_count, running; /* threads; those that have not said MSG_STOPPED */
    bool stopping;
    int status; /* what main returns */
};

/* -- the hub's outside -- */

static void sink_post(void *arg, unsigned worker, struct msg *m)
{
    struct daemon *d = arg;

    if (d->stopping)
        msg_free(m);
    else
        worker_post(d->workers[worker], m);
}

static void sink_device_changed(void *arg, const char *device)
{
    central_device(((struct daemon *)arg)->central, device);
}

static void sink_event(void *arg, const struct hub_event *ev)
{
    central_event(((struct daemon *)arg)->central, ev);
}

static void sink_trust_changed(void *arg)
{
    central_state(((struct daemon *)arg)->central);
}

static int64_t sink_wall_s(void *arg)
{
    (void)arg;
    return clock_wall_s();
}

static void sink_sync(void *arg, struct clock_sync *out)
{
    (void)arg;
    clock_sync(out);
}

static int64_t sink_now_ms(void *arg)
{
    (void)arg;
    return clock_boot_ms();
}

static void on_wake(uv_timer_t *timer)
{
    struct daemon *d = timer->data;

    hub_tick(d->hub);
}

static void sink_wake(void *arg, int64_t at_ms)
{
    struct daemon *d = arg;
    int64_t in_ms = at_ms - clock_boot_ms();

    if (d->stopping)
        return;
    if (in_ms < 0)
        in_ms = 0;
    else if (in_ms > FOREVER_MS) /* the hub asks again then */
        in_ms = FOREVER_MS;
    uv_update_time(&d->loop);
    uv_timer_start(&d->wake, on_wake, (uint64_t)in_ms, 0);
}

/* -- the end -- */

static void on_bound(uv_timer_t *timer)
{
    struct daemon *d = timer->data;

    log_event(LOG_DAEMON, LOG_ERROR_, "stop-timeout", "workers=%u msg=%s", d->running,
              LOG_Q("sessions were cut"));
    log_tick(true);
    log_sink_flush(LOG_END_MS);
    _exit(EXIT_RUN); /* threads that do not end cannot be freed around */
}

static void stop_workers(void *arg)
{
    struct daemon *d = arg;

    crash_point("stop.workers");
    d->central = NULL;
    if (d->running == 0) {
        uv_stop(&d->loop);
        return;
    }
    for (unsigned w = 0; w < d->worker_count; w++) {
        struct msg *m = msg_new(MSG_STOP);

        if (m != NULL)
            worker_post(d->workers[w], m);
    }
}

/* A start that failed half way: what runs already is ended, and nothing is written or told. */
static void abandon(struct daemon *d)
{
    d->stopping = true;
    status_stop(d->status_page);
    d->status_page = NULL;
    local_stop(d->local);
    d->local = NULL;
    central_stop(d->central, NULL, NULL);
    d->central = NULL;
    if (d->running == 0)
        return;
    uv_timer_start(&d->bound, on_bound, STOP_MS, 0);
    stop_workers(d);
    uv_run(&d->loop, UV_RUN_DEFAULT);
}

/* Begin the end; the loop stops when all workers have. */
static void stop(struct daemon *d)
{
    if (d->stopping)
        return;
    notify_stopping();
    log_event(LOG_DAEMON, LOG_NOTICE_, "stopping", "pid=%d", (int)getpid());
    dispatch_stop(&d->dispatch);
    status_stop(d->status_page);
    d->status_page = NULL;
    local_stop(d->local);
    d->local = NULL;
    uv_timer_stop(&d->wake);
    uv_timer_stop(&d->poll);
    crash_point("stop.begin");
    hub_poll(d->hub); /* for what is written with it */
    hub_flush(d->hub, NULL);
    d->stopping = true;
    uv_timer_start(&d->bound, on_bound, STOP_MS, 0);
    if (d->central != NULL)
        central_stop(d->central, stop_workers, d);
    else
        stop_workers(d);
}

static void on_mail(struct inbox *box, struct list *item, void *arg)
{
    struct daemon *d = arg;
    struct msg *m = list_entry(item, struct msg, link);

    (void)box;
    if (m->kind == MSG_STOPPED) {
        msg_free(m);
        crash_point("stop.worker-stopped");
        if (--d->running == 0)
            uv_stop(&d->loop);
        return;
    }
    if (d->stopping)
        msg_free(m);
    else
        hub_message(d->hub, m);
}

/* -- signals and timers -- */

static int reload(void *arg, struct json_t **result, struct json_t **faults, struct err *err)
{
    struct daemon *d = arg;
    int rc;

    notify_reloading();
    rc = reload_run(d->path, d->snapshot->conf, d->hub, d->central, result, faults, err);
    status_conf(d->status_page);
    if (rc == 0)
        d->chains_said = 0;
    notify_ready(rc == 0 ? "running" : "running; the last reload was refused");
    return rc;
}

static struct json_t *central_status_of(void *arg)
{
    return central_status(((struct daemon *)arg)->central);
}

static void on_signal(uv_signal_t *handle, int number)
{
    struct daemon *d = handle->data;
    json_t *result = NULL, *faults = NULL;
    struct err err = {0};
    int rc;

    if (number != SIGHUP) {
        stop(d);
        return;
    }
    if (d->stopping)
        return;
    rc = reload(d, &result, &faults, &err);
    json_decref(result);
    json_decref(faults);
    hub_audit(d->hub, "signal:HUP", "config.reload", "", rc == 0 ? "done" : err.msg);
    hub_flush(d->hub, NULL);
}

/* Lines that wait for room (base/log_sink.h) are written from this loop alone. */
static void on_log(uv_timer_t *timer)
{
    if (log_sink_drain())
        uv_timer_start(timer, on_log, LOG_MS, 0);
    else
        uv_timer_stop(timer);
}

static void on_poll(uv_timer_t *timer)
{
    struct daemon *d = timer->data;

    log_tick(false);
    hub_clock_look(d->hub);
    hub_lint_watch(d->hub);
    hub_poll(d->hub);
    token_watch_poll();
    crls_watch(d->hub, &d->crls_said_s);
    chains_watch(hub_snapshot(d->hub), &d->chains_said);
}

/* systemd starts the daemon anew when nobody says that it works: this loop turns, and every worker
 * has answered lately. */
static void on_watchdog(uv_timer_t *timer)
{
    struct daemon *d = timer->data;
    int64_t patience_ms = (int64_t)uv_timer_get_repeat(timer) * 2;

    if (patience_ms < INT64_C(3) * POLL_MS)
        patience_ms = INT64_C(3) * POLL_MS;
    int stuck = hub_silent_worker(d->hub, patience_ms);
    if (stuck < 0) {
        notify_watchdog();
        return;
    }
    log_event(LOG_DAEMON, LOG_ERROR_, "worker-stuck", "worker=%d silent_ms=%lld msg=%s todo=%s",
              stuck, (long long)patience_ms,
              LOG_Q("a worker does not answer: its sensors are not served"),
              LOG_Q("systemd starts certflipd anew; report it with what the log says before this"));
}

static void on_check(uv_check_t *check)
{
    struct daemon *d = check->data;

    if (!d->stopping)
        hub_flush(d->hub, NULL);
    if (!uv_is_active((uv_handle_t *)&d->log))
        on_log(&d->log);
}

/* Before anything is judged by its dates; the hub knows more of it (control/hub_clock.c). */
static void first_clock(void)
{
    struct clock_sync sync;

    clock_sync(&sync);
    if (!sync.synchronised)
        clock_known_set(clock_built_s());
}

/* -- the process -- */

#ifdef __SANITIZE_THREAD__
/* libmosquitto takes its own locks in either order; all of its calls come from the main thread. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "deadlock:libmosquitto.so\n";
}
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#    define SANITIZED true
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#        define SANITIZED true
#    endif
#endif
#ifndef SANITIZED
#    define SANITIZED false
#endif

/* Sanitizers, and those who debug, need to look into the process. */
static bool may_be_dumped(const struct conf *conf)
{
    return conf->keys.core_dumps || SANITIZED || secure_getenv("CERTFLIP_DUMPABLE") != NULL;
}

/* A device takes two, and one more while it moves to another identity. */
static void raise_files(const struct conf *conf)
{
    rlim_t wanted = 2 * (rlim_t)conf->limits.connections + conf->flip.concurrent + FILES_SPARE;
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    if (files.rlim_cur != files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (files.rlim_max < wanted)
        log_event(LOG_DAEMON, LOG_WARN_, "few-files", "have=%llu wanted=%llu msg=%s todo=%s",
                  (unsigned long long)files.rlim_max, (unsigned long long)wanted,
                  LOG_Q("there are fewer file descriptors than limits.connections needs"),
                  LOG_Q("raise LimitNOFILE of the service, or lower limits.connections"));
}

static void prepare_process(const struct conf *conf)
{

    signal(SIGPIPE, SIG_IGN);
    if (!may_be_dumped(conf))
        prctl(PR_SET_DUMPABLE, 0); /* no keys in core dumps */
    raise_files(conf);
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet */
    mallopt(M_ARENA_MAX, (int)conf->workers + 1);
}

/* -- the start -- */

static int start_failed(const struct err *err)
{
    fprintf(stderr, "certflipd: %s\n", err->msg);
    return EXIT_START;
}

static void loop_init(struct daemon *d)
{
    uv_handle_t *handles[] = {
        (uv_handle_t *)&d->term,     (uv_handle_t *)&d->interrupt, (uv_handle_t *)&d->hangup,
        (uv_handle_t *)&d->wake,     (uv_handle_t *)&d->poll,      (uv_handle_t *)&d->bound,
        (uv_handle_t *)&d->watchdog, (uv_handle_t *)&d->check,     (uv_handle_t *)&d->log,
    };

    uv_loop_init(&d->loop);
    inbox_init(&d->inbox, &d->loop, on_mail, d);
    uv_signal_init(&d->loop, &d->term);
    uv_signal_init(&d->loop, &d->interrupt);
    uv_signal_init(&d->loop, &d->hangup);
    uv_timer_init(&d->loop, &d->wake);
    uv_timer_init(&d->loop, &d->poll);
    uv_timer_init(&d->loop, &d->bound);
    uv_timer_init(&d->loop, &d->watchdog);
    uv_timer_init(&d->loop, &d->log);
    uv_check_init(&d->loop, &d->check);
    for (size_t i = 0; i < sizeof(handles) / sizeof(handles[0]); i++)
        handles[i]->data = d;
}

static int start_workers(struct daemon *d, struct err *err)
{
    unsigned count = d->snapshot->conf->workers;

    d->workers = calloc(count, sizeof(struct worker *));
    if (d->workers == NULL)
        return err_set(err, ERR_NOMEM, "out of memory");
    for (unsigned w = 0; w < count; w++) {
        d->workers[w] = worker_start(w, d->snapshot, &d->inbox, err);
        if (d->workers[w] == NULL)
            return err->code == 0 ? -ERR_IO : -err->code;
        d->worker_count++;
    }
    return 0;
}

static int run_workers(struct daemon *d, struct err *err)
{
    int rc = 0;

    crash_point("start.run");
    for (unsigned w = 0; w < d->worker_count && rc == 0; w++)
        if ((rc = worker_run(d->workers[w], err)) == 0)
            d->running++;
    return rc;
}

static int start_local(struct daemon *d, struct err *err)
{
    const struct conf *conf = hub_conf(d->hub);

    d->dispatch = (struct dispatch){
        .loop = &d->loop,
        .hub = d->hub,
        .store = d->store,
        .config = d->path,
        .started_s = clock_wall_s(),
        .started_ms = clock_boot_ms(),
        .central_status = central_status_of,
        .reload = reload,
        .arg = d,
    };
    dispatch_init(&d->dispatch);
    d->local = local_start(&d->loop, &d->dispatch, conf->control_socket, conf->control_group, err);
    return d->local == NULL ? -err->code : 0;
}

static int start_central(struct daemon *d, struct err *err)
{
    d->central = central_start(&d->loop, hub_snapshot(d->hub)->conf, &d->dispatch, d->hub, err);
    return d->central == NULL ? -err->code : 0;
}

static int start_status(struct daemon *d, struct err *err)
{
    d->status_page = status_start(&d->loop, d->hub, &d->dispatch);
    return d->status_page == NULL ? err_set(err, ERR_NOMEM, "out of memory") : 0;
}

/* What is retained of a device whose folder went away while we were not there is cleared. */
static int clear_gone(void *arg, const struct store_device *row)
{
    struct daemon *d = arg;

    if (hub_find(d->hub, row->name) == NULL)
        central_device(d->central, row->name);
    return 0;
}

/* A disk that is full, or does not take anything, must not leave the sensors without service: they
 * are served as the journal has it, and what has to be saved is saved when that is possible. */
static int tell_devices(struct daemon *d, struct err *err)
{
    int rc = hub_flush(d->hub, err);

    if (rc != -ERR_STORE)
        return rc;
    *err = (struct err){0};
    return hub_flush(d->hub, err);
}

static void start_handles(struct daemon *d)
{
    uint64_t watchdog_ms = notify_watchdog_ms();

    uv_signal_start(&d->term, on_signal, SIGTERM);
    uv_signal_start(&d->interrupt, on_signal, SIGINT);
    uv_signal_start(&d->hangup, on_signal, SIGHUP);
    uv_timer_start(&d->poll, on_poll, 0, POLL_MS);
    uv_check_start(&d->check, on_check);
    if (watchdog_ms != 0)
        uv_timer_start(&d->watchdog, on_watchdog, 0, watchdog_ms);
}

/* All of what `err` says the first of.  Returns the exit status: what is only a matter of the date
 * may be so of a clock that will be right later, and is tried again by whoever starts us. */
static int say_faults(const struct conf *conf, const struct trust_changes *changes,
                      const struct err *err)
{
    struct buf text = {0};

    if (snapshot_faults(conf, changes, &text) == 0)
        start_failed(err);
    for (size_t at = 0; at < text.len;) {
        const char *line = (const char *)text.p + at;
        const char *end = memchr(line, '\n', text.len - at);
        int n = (int)(end == NULL ? text.len - at : (size_t)(end - line));

        fprintf(stderr, "certflipd: %.*s\n", n, line);
        at += (size_t)n + 1;
    }
    buf_fini(&text);
    return err->code == ERR_EXPIRED ? EXIT_RUN : EXIT_START;
}

/* What the configuration names, and who is believed by what was changed at run time: in that the
 * store is asked, so it is open before.  What is wrong has been said. */
static int open_files(struct daemon *d)
{
    struct trust_changes *changes = NULL;
    struct err err = {0};

    d->store = store_open(d->conf->state_dir, &err);
    if (d->store == NULL || trust_load(d->store, d->conf->state_dir, &changes, &err) != 0) {
        d->status = start_failed(&err);
        return -1;
    }
    d->snapshot = snapshot_new(d->conf, changes, &err);
    if (d->snapshot == NULL && d->keys.code != 0)
        start_failed(&d->keys);
    if (d->snapshot == NULL)
        d->status = say_faults(d->conf, changes, &err);
    trust_changes_unref(changes);
    return d->snapshot == NULL ? -1 : 0;
}

/* Returns 0, or a negative code with what was begun to be ended by the caller. */
static int start(struct daemon *d, struct err *err)
{
    const struct hub_sink sink = {
        .post = sink_post,
        .device_changed = sink_device_changed,
        .event = sink_event,
        .trust_changed = sink_trust_changed,
        .wake = sink_wake,
        .now_ms = sink_now_ms,
        .wall_s = sink_wall_s,
        .sync = sink_sync,
        .boot = clock_boot_id(d->boot, sizeof(d->boot)),
        .arg = d,
        .workers = d->snapshot->conf->workers,
    };
    int rc;

    if ((rc = token_watch_conf(d->snapshot->conf, err)) != 0)
        return rc;
    d->hub = hub_new(&sink, d->store, d->snapshot, err);
    if (d->hub == NULL)
        return -err->code;
    if ((rc = hub_start(d->hub, err)) != 0 || (rc = start_workers(d, err)) != 0 ||
        (rc = start_local(d, err)) != 0 || (rc = start_central(d, err)) != 0 ||
        (rc = store_device_each(d->store, clear_gone, d, err)) != 0 ||
        (rc = tell_devices(d, err)) != 0 || (rc = run_workers(d, err)) != 0 ||
        (rc = start_status(d, err)) != 0)
        return rc;
    crash_point("start.running");
    start_handles(d);
    return 0;
}

/* Who asks a second time that it shall end must not end it by the signal: its status tells how it
 * has ended. */
static void close_handle(uv_handle_t *handle, void *arg)
{
    int number = handle->type == UV_SIGNAL ? ((uv_signal_t *)handle)->signum : 0;

    (void)arg;
    if (uv_is_closing(handle))
        return;
    uv_close(handle, NULL);
    if (number != 0)
        (void)signal(number, SIG_IGN);
}

/* Free what a start, even a half one, has made. */
static void finish(struct daemon *d)
{
    for (unsigned w = 0; w < d->worker_count; w++)
        worker_join(d->workers[w]);
    free(d->workers);
    inbox_drain(&d->inbox);
    hub_free(d->hub);
    store_close(d->store);
    snapshot_unref(d->snapshot);
    uv_walk(&d->loop, close_handle, NULL);
    uv_run(&d->loop, UV_RUN_DEFAULT);
    uv_loop_close(&d->loop);
}

static int run(struct daemon *d)
{
    struct err err = {0};
    int rc;

    loop_init(d);
    if (open_files(d) != 0) {
        finish(d);
        return d->status;
    }
    rc = start(d, &err);
    if (rc != 0) {
        d->status = start_failed(&err);
        abandon(d);
    } else {
        log_event(LOG_DAEMON, LOG_NOTICE_, "started", "version=%s pid=%d workers=%u config=%s",
                  PACKAGE_VERSION, (int)getpid(), d->worker_count, d->path);
        notify_ready("running");
        uv_run(&d->loop, UV_RUN_DEFAULT);
        log_event(LOG_DAEMON, LOG_NOTICE_, "stopped", "pid=%d", (int)getpid());
    }
    finish(d);
    return d->status;
}

/* -- the command line -- */

static void usage(FILE *to)
{
    fputs("usage: certflipd [-c FILE] [--log-format text|json] [--check-config]\n"
          "       certflipd -V | -h\n"
          "  -c, --config FILE        read FILE instead of " CERTFLIP_CONF_FILE "\n"
          "      --log-format FORMAT  how log lines are written, whatever log.format says\n"
          "      --check-config       say what is wrong with the configuration, and end\n"
          "  -V, --version            say which version this is\n"
          "  -h, --help               this text\n"
          "certflipd(8) tells the rest.\n",
          to);
}

/* Their keys are read for the central channel, and before that here: nothing is begun without. */
static bool operators_good(struct conf *conf)
{
    struct err err = {0};
    struct operators *o = operators_new(conf, &err);

    operators_free(o);
    if (o == NULL)
        start_failed(&err);
    return o != NULL;
}

/* Read the configuration.  Returns owned, or NULL after all that is wrong was said. */
static struct conf *load(const char *path)
{
    struct buf faults = {0};
    unsigned count = 0;
    struct conf *conf = conf_load(path, &faults, &count);

    if (conf == NULL)
        fwrite(faults.p, 1, faults.len, stderr);
    buf_fini(&faults);
    if (conf != NULL && !operators_good(conf)) {
        conf_unref(conf);
        conf = NULL;
    }
    return conf;
}

static void open_log(const struct conf *conf)
{
    int rc = log_sink_open(conf->log.target, NULL);

    reload_log(conf);
    if (rc != 0)
        log_event(LOG_DAEMON, LOG_WARN_, "no-journal", "msg=%s todo=%s",
                  LOG_Q("log.target is \"journal\", and there is none: lines go to stderr"),
                  LOG_Q("start systemd-journald, or set log.target to \"auto\""));
}

/* No fault of the configuration, as it is this clock that says so. */
static void warn_of_chain(void *arg, const struct chains_one *c, const char *msg, const char *todo)
{
    (void)arg;
    (void)c;
    fprintf(stderr, "certflipd: warning: %s: %s\n", msg, todo);
}

/* Look at everything that the configuration names, with the changes of the anchors as far as their
 * files tell them: the database may be in use. */
static int check_all(const struct daemon *d)
{
    struct trust_changes *changes = trust_of_files(d->conf->state_dir);
    struct err err = {0};
    struct wk_snapshot *snapshot = snapshot_new(d->conf, changes, &err);
    int status = 0;

    if (snapshot == NULL) {
        if (d->keys.code != 0)
            start_failed(&d->keys);
        status = say_faults(d->conf, changes, &err);
    } else if (d->keys.code != 0) {
        status = start_failed(&d->keys);
        snapshot_unref(snapshot);
    } else {
        chains_worries(snapshot, clock_date_s(), warn_of_chain, NULL);
        printf("%s: ok\n", d->path);
        snapshot_unref(snapshot);
    }
    trust_changes_unref(changes);
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"check-config", no_argument, NULL, 'C'},
        {"foreground", no_argument, NULL, 'f'},
        {"log-format", required_argument, NULL, 'L'},
        {"version", no_argument, NULL, 'V'},
        {"help", no_argument, NULL, 'h'},
#ifdef CERTFLIP_CRASH_POINTS
        {"crash-points", no_argument, NULL, 'P'},
#endif
        {NULL, 0, NULL, 0},
    };
    struct daemon d = {.path = CERTFLIP_CONF_FILE};
    struct err err = {0};
    enum log_format format;
    bool check = false;
    int opt, status;

    /* NOLINTNEXTLINE(concurrency-mt-unsafe): there is one thread yet */
    while ((opt = getopt_long(argc, argv, "c:fVh", options, NULL)) != -1)
        switch (opt) {
        case 'c':
            d.path = optarg;
            break;
        case 'C':
            check = true;
            break;
        case 'f': /* it always is */
            break;
        case 'L':
            if (log_format_parse(optarg, &format) != 0) {
                usage(stderr);
                return EXIT_START;
            }
            log_pin_format(format);
            break;
        case 'V':
            printf("certflipd %s\n", PACKAGE_VERSION);
            return 0;
        case 'h':
            usage(stdout);
            return 0;
#ifdef CERTFLIP_CRASH_POINTS
        case 'P':
            crash_list(stdout);
            return 0;
#endif
        default:
            usage(stderr);
            return EXIT_START;
        }
    if (optind != argc) {
        usage(stderr);
        return EXIT_START;
    }
    json_set_alloc_funcs(malloc, secret_free_heap); /* requests may carry a private key */
    if (tls_init(&err) != 0)
        return start_failed(&err);
    first_clock();
    d.conf = load(d.path);
    /* Whoever's key is not encrypted is served without the passphrase. */
    if (d.conf != NULL && reload_keys(d.conf, &d.keys) != 0)
        keyring_without(d.conf->keys.encrypt);
    keyring_settle();
    if (d.conf == NULL) {
        status = EXIT_START;
    } else if (check) {
        status = check_all(&d);
    } else {
        open_log(d.conf);
        if (d.keys.code != 0)
            log_event(LOG_DAEMON, LOG_ERROR_, "passphrase-missing", "msg=%s todo=%s",
                      LOG_Q(d.keys.msg),
                      LOG_Q("mend it, then reload: until then encrypted keys cannot be used"));
        prepare_process(d.conf);
        status = run(&d);
        log_tick(true);
        log_sink_flush(LOG_END_MS);
    }
    keyring_clear();
    tokens_fini();
    conf_unref(d.conf);
    tls_fini();
    return status;
}
