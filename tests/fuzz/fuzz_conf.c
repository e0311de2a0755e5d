/* The configuration from arbitrary text: faults, or a whole struct conf. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

/* libconfig 1.5 loses the string that it was reading when the syntax is wrong: some bytes for each
 * faulty file, and nothing that we could free. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libconfig.so\n";
}

static void require(int holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    struct buf faults = {0};
    struct buf diff = {0};
    unsigned count = 0;
    unsigned lines = 0;
    struct conf *c = conf_load_text("fuzz", n == 0 ? "" : (const char *)data, n, &faults, &count);

    for (size_t i = 0; i < faults.len; i++) {
        lines += faults.p[i] == '\n';
        require(faults.p[i] >= 0x20 || faults.p[i] == '\n');
    }
    require(lines == count);
    require((c == NULL) == (count > 0));
    if (c != NULL) { /* what every reader of a configuration relies on */
        require(c->gateway != NULL && c->workers >= 1 && c->workers <= 256);
        require(c->listener_count > 0 && c->upstream_count > 0 && c->log.level_count > 0);
        for (size_t i = 0; i < c->rule_count; i++) {
            require(conf_upstream_find(c, c->rules[i].upstream) != NULL);
            require(conf_upstream_find(c, c->rules[i].upstream_new) != NULL);
            require(c->rules[i].file != NULL);
        }
        for (size_t i = 0; i < c->listener_count; i++) {
            const struct conf_listener *l = &c->listeners[i];

            require(l->name != NULL && l->address != NULL && l->tls_min <= l->tls_max);
            require(l->type != CONF_LISTEN_PLAINTEXT || l->allow_count > 0);
            require(l->type != CONF_LISTEN_TLS || l->chain_count > 0);
            require(l->device == NULL || conf_rule_find(c, l->device) != NULL);
        }
        conf_restart_needed(c, c, &diff);
        require(diff.len == 0);
        conf_unref(c);
    }
    buf_fini(&faults);
    buf_fini(&diff);
    return 0;
}
