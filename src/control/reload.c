/* control/reload.c - see reload.h. */
#include "control/reload.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/log_repeat.h"
#include "base/log_ring.h"
#include "base/secret.h"
#include "base/str.h"
#include "control/central.h"
#include "control/hub.h"
#include "control/operators.h"
#include "control/token_watch.h"
#include "identity/files.h"
#include "tls/cred.h"
#include "tls/keyring.h"
#include "worker/worker.h"

/* What the configuration says of a subsystem; the one for all others stands first. */
static enum log_level level_of(const struct conf_log *log, const char *subsystem)
{
    enum log_level level = LOG_INFO_;

    for (size_t i = 0; i < log->level_count; i++)
        if (strcmp(log->levels[i].subsystem, "*") == 0 ||
            strcmp(log->levels[i].subsystem, subsystem) == 0)
            level = log->levels[i].level;
    return level;
}

void reload_log(const struct conf *conf)
{
    log_set_format(conf->log.format);
    for (int i = 0; i < LOG_SUBSYSTEM_COUNT; i++) {
        enum log_subsystem sub = (enum log_subsystem)i;

        log_configure_level(sub, level_of(&conf->log, log_subsystem_name(sub)));
    }
    log_repeat_set(conf->log.repeat_burst, conf->log.repeat_window_s);
    log_ring_set_bytes(conf->log.recent_bytes);
}

/* The service's credential (systemd.exec(5), LoadCredential=), where it has one.  Returns owned, or
 * NULL. */
static char *credential(void)
{
    const char *folder = secure_getenv("CREDENTIALS_DIRECTORY");
    char *path = folder == NULL ? NULL : str_printf("%s/certflip.passphrase", folder);

    if (path != NULL && access(path, F_OK) != 0) {
        free(path);
        path = NULL;
    }
    return path;
}

int reload_keys(const struct conf *conf, struct err *err)
{
    char *path = conf->keys.passphrase_file == NULL ? credential() : NULL;
    int rc =
        keyring_load(path == NULL ? conf->keys.passphrase_file : path, conf->keys.encrypt, err);

    free(path);
    return rc == 0 ? 0 : err_wrap(err, rc, "keys.passphrase_file");
}

/* Can the key on disk not be read for want of its passphrase? */
static bool is_locked(const struct conf *conf, const struct hub_device *d, enum flip_slot slot,
                      struct err *why)
{
    static const char encrypted[] = "ENCRYPTED";
    struct secret key = {0};
    struct buf text = {0};
    bool locked;

    locked = files_get(conf->identities_dir, d->name, slot, FILES_KEY, &text, NULL) == 0 &&
             memmem(text.p, text.len, encrypted, sizeof(encrypted) - 1) != NULL &&
             cred_read_key((const char *)text.p, text.len, &key, why) != 0;
    secret_fini(&key);
    buf_fini_wipe(&text);
    return locked;
}

/* Other passphrases must read what is in use: a wrong one would take every identity away from
 * devices that work.  Returns 0 or -ERR_DENIED. */
static int check_keys(const struct hub *hub, const struct conf *conf, struct err *err)
{
    struct hub_device *const *all;
    char first[400] = "";
    struct err why = {0};
    unsigned locked = 0;
    size_t n;

    all = hub_devices(hub, &n);
    for (size_t i = 0; i < n; i++)
        for (int slot = 0; slot < FLIP_SLOTS; slot++) {
            const struct cred *cred = all[i]->cred[slot];
            struct err fault = {0};

            if (cred == NULL || cred_rest(cred) == CRED_TOKEN ||
                !is_locked(conf, all[i], (enum flip_slot)slot, &fault))
                continue;
            if (locked++ > 0)
                continue;
            why = fault;
            snprintf(first, sizeof(first), "%s/%s/%s/key.pem", conf->identities_dir, all[i]->name,
                     flip_slot_name((enum flip_slot)slot));
        }
    if (locked == 0)
        return 0;
    if (locked == 1)
        return err_set(err, ERR_DENIED, "%s: %s", first, why.msg);
    return err_set(err, ERR_DENIED, "%s: %s (and %u other keys in use)", first, why.msg,
                   locked - 1);
}

/* Let keys be read under the configured passphrase, until it is settled or undone. */
static int try_keys(const struct hub *hub, const struct conf *conf, struct err *err)
{
    int rc = reload_keys(conf, err);

    if (rc == 0 && keyring_differs() && (rc = check_keys(hub, conf, err)) != 0)
        keyring_undo();
    return rc;
}

/* The next line of `text` from *at: its length, without newline; -1 at the end. */
static ssize_t next_line(const struct buf *text, size_t *at, const char **line)
{
    const char *end;
    size_t n;

    if (*at >= text->len)
        return -1;
    *line = (const char *)text->p + *at;
    end = memchr(*line, '\n', text->len - *at);
    n = end == NULL ? text->len - *at : (size_t)(end - *line);
    *at += n + 1;
    return (ssize_t)n;
}

void reload_log_lines(enum log_level level, const char *event, const struct buf *text)
{
    struct log_quoted quoted;
    const char *line;
    size_t at = 0;
    ssize_t n;

    while ((n = next_line(text, &at, &line)) >= 0)
        log_event(LOG_CONFIG, level, event, "msg=%s", log_quote(&quoted, line, (size_t)n));
}

static json_t *lines_json(const struct buf *text)
{
    json_t *list = json_array();
    const char *line;
    size_t at = 0;
    ssize_t n;

    while ((n = next_line(text, &at, &line)) >= 0)
        json_array_append_new(list, json_stringn_nocheck(line, (size_t)n));
    return list;
}

static int refused(struct buf *faults, struct json_t **out, struct err *err, unsigned count)
{
    const char *first = "";
    size_t at = 0;
    ssize_t n = next_line(faults, &at, &first);

    reload_log_lines(LOG_ERROR_, "config-fault", faults);
    log_event(LOG_CONFIG, LOG_ERROR_, "reload-refused", "faults=%u msg=%s", count,
              LOG_Q("nothing was changed"));
    *out = lines_json(faults);
    if (count <= 1)
        err_set(err, ERR_INVALID, "%.*s", n < 0 ? 0 : (int)n, first);
    else
        err_set(err, ERR_INVALID, "the configuration has %u faults, the first: %.*s", count,
                n < 0 ? 0 : (int)n, first);
    buf_fini(faults);
    return -ERR_INVALID;
}

/* What failed has failed after the new configuration was taken up. */
static int incomplete(struct buf *text, struct json_t **faults, struct err *err)
{
    log_event(LOG_CONFIG, LOG_ERROR_, "reload-incomplete", "msg=%s", LOG_Q(err->msg));
    buf_fini(text);
    buf_printf(text, "%s\n", err->msg);
    *faults = lines_json(text);
    buf_fini(text);
    return err_wrap(err, -ERR_IO, "the new configuration is in use, but not all was carried out");
}

int reload_run(const char *path, const struct conf *started, struct hub *hub,
               struct central *central, struct json_t **result, struct json_t **faults,
               struct err *err)
{
    struct hub_counts counts;
    struct buf text = {0};
    struct hub_reload what = {0};
    struct operators *operators;
    struct wk_snapshot *snapshot;
    struct conf *conf;
    unsigned count = 0;
    int rc;

    conf = conf_load(path, &text, &count);
    if (conf == NULL)
        return refused(&text, faults, err, count);
    buf_fini(&text);
    operators = operators_new(conf, err);
    if (operators == NULL || try_keys(hub, conf, err) != 0) {
        operators_free(operators);
        conf_unref(conf);
        buf_printf(&text, "%s\n", err->msg);
        return refused(&text, faults, err, 1);
    }
    snapshot = snapshot_new(conf, hub_snapshot(hub)->changes, err);
    if (snapshot != NULL && snapshot_crls_lost(snapshot, hub_snapshot(hub), err) != 0) {
        buf_printf(&text, "%s\n", err->msg);
        count = 1;
        snapshot_unref(snapshot);
        snapshot = NULL;
    } else if (snapshot == NULL)
        count = snapshot_faults(conf, hub_snapshot(hub)->changes, &text);
    if (snapshot == NULL || worker_check_listeners(hub_conf(hub), conf, err) != 0 ||
        token_watch_conf(conf, err) != 0) {
        if (text.len == 0) {
            buf_printf(&text, "%s\n", err->msg);
            count = 1;
        }
        operators_free(operators);
        snapshot_unref(snapshot);
        conf_unref(conf);
        keyring_undo();
        return refused(&text, faults, err, count);
    }
    conf_restart_needed(started, conf, &text);
    rc = hub_reload(hub, snapshot, &what, err);
    snapshot_unref(snapshot);
    if (rc != 0 && !what.begun) {
        (void)token_watch_conf(hub_conf(hub), NULL);
        operators_free(operators);
        conf_unref(conf);
        keyring_undo();
        buf_fini(&text);
        buf_printf(&text, "%s\n", err->msg);
        return refused(&text, faults, err, 1);
    }
    keyring_settle();
    reload_log_lines(LOG_WARN_, "restart-needed", &text);
    reload_log(conf);
    central_conf(central, conf, operators);
    conf_unref(conf);
    if (rc != 0)
        return incomplete(&text, faults, err);
    log_event(LOG_CONFIG, LOG_NOTICE_, "reloaded", "changed=%zu added=%zu gone=%zu", what.changed,
              what.added, what.gone);
    hub_count(hub, &counts);
    *result =
        json_pack("{s:I, s:I, s:I, s:I, s:o}", "changed_devices", (json_int_t)what.changed,
                  "new_devices", (json_int_t)what.added, "gone_devices", (json_int_t)what.gone,
                  "faulty_devices", (json_int_t)counts.faulty, "restart_needed", lines_json(&text));
    buf_fini(&text);
    return 0;
}
