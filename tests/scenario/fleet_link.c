/* A link of certflip-fleet by itself: commands on standard input, what comes as JSON on standard
 * output, a line each.  For test_fleet_link.py.
 *
 *   fleet_link KEY=VALUE...       keys are those of struct link_conf
 *   < request GATEWAY ID METHOD PARAMS
 *   < refresh FILTER
 *   < counts
 */
#include <jansson.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fleet/link.h"

#define LINE_MAX_ 65536

/* Takes the object. */
static void tell(json_t *object)
{
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(object);
}

static void on_up(void *arg)
{
    (void)arg;
    tell(json_pack("{s:s}", "event", "up"));
}

static void on_down(void *arg, const char *why)
{
    (void)arg;
    tell(json_pack("{s:s, s:s}", "event", "down", "why", why));
}

static void on_message(void *arg, const char *topic, const void *payload, size_t n, bool retained)
{
    (void)arg;
    (void)payload;
    tell(json_pack("{s:s, s:s, s:I, s:b}", "event", "message", "topic", topic, "bytes",
                   (json_int_t)n, "retained", (int)retained));
}

static void on_reply(void *arg, const char *gateway, const char *id, const char *reply, size_t n)
{
    (void)arg;
    tell(json_pack("{s:s, s:s, s:s, s:o?}", "event", "reply", "gateway", gateway, "id", id, "reply",
                   json_loadb(reply, n, 0, NULL)));
}

static void on_denied(void *arg, const char *topic, const char *id, const char *why)
{
    (void)arg;
    tell(json_pack("{s:s, s:s, s:s?, s:s}", "event", "denied", "topic", topic, "id", id, "why",
                   why));
}

/* KEY=VALUE into the configuration; the words live as long as the program. */
static void take_word(struct link_conf *c, char *word)
{
    const struct {
        const char *key;
        const char **into;
    } keys[] = {
        {"root", &c->root},
        {"host", &c->host},
        {"client_id", &c->client_id},
        {"username", &c->username},
        {"password", &c->password},
        {"ca_file", &c->ca_file},
        {"cert_file", &c->cert_file},
        {"key_file", &c->key_file},
        {"tls_name", &c->tls_name},
        {"operator", &c->operator_name},
        {"operator_key", &c->operator_key_file},
    };
    char *value = strchr(word, '=');

    if (value == NULL)
        exit(2);
    *value++ = '\0';
    if (strcmp(word, "port") == 0)
        c->port = (uint16_t)atoi(value);
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
        if (strcmp(word, keys[i].key) == 0)
            *keys[i].into = value;
}

static void carry_out(struct link *l, char *line)
{
    char *word[5] = {NULL}, *rest = line;
    struct link_counts n;
    struct err err = {0};
    int rc = 0;

    for (size_t i = 0; i < 4; i++)
        word[i] = strsep(&rest, " ");
    word[4] = rest;
    if (strcmp(word[0], "request") == 0 && word[3] != NULL) {
        rc = link_request(l, word[1], word[2], word[3], word[4], &err);
        tell(json_pack("{s:s, s:s, s:i, s:s}", "event", "sent", "id", word[2], "rc", rc, "why",
                       err.msg));
    } else if (strcmp(word[0], "refresh") == 0 && word[1] != NULL) {
        rc = link_refresh(l, word[1], &err);
        tell(json_pack("{s:s, s:i}", "event", "refresh", "rc", rc));
    } else if (strcmp(word[0], "counts") == 0) {
        link_counts(l, &n);
        tell(json_pack("{s:s, s:I, s:I, s:I, s:I, s:i}", "event", "counts", "sent",
                       (json_int_t)n.sent, "received", (json_int_t)n.received, "acknowledged",
                       (json_int_t)n.acknowledged, "reconnects", (json_int_t)n.reconnects,
                       "version", (int)n.version));
    }
}

/* Returns false at the end of the input. */
static bool read_commands(struct link *l)
{
    static char text[LINE_MAX_];
    static size_t len;
    struct pollfd p = {.fd = STDIN_FILENO, .events = POLLIN};
    char *end;
    ssize_t n;

    if (poll(&p, 1, 0) <= 0)
        return true;
    n = read(STDIN_FILENO, text + len, sizeof(text) - len - 1);
    if (n <= 0)
        return false;
    len += (size_t)n;
    text[len] = '\0';
    while ((end = memchr(text, '\n', len)) != NULL) {
        *end = '\0';
        carry_out(l, text);
        len -= (size_t)(end + 1 - text);
        memmove(text, end + 1, len);
    }
    return true;
}

int main(int argc, char **argv)
{
    const struct link_events events = {on_up, on_down, on_message, on_reply, on_denied, NULL};
    struct link_conf conf = {.root = "certflip/v1", .host = "127.0.0.1"};
    struct err err = {0};
    struct link *l;
    bool settled = false;

    for (int i = 1; i < argc; i++)
        take_word(&conf, argv[i]);
    l = link_new(&conf, &events, &err);
    if (l == NULL || link_subscribe(l, "+/state", &err) != 0 ||
        link_subscribe(l, "+/device/+", &err) != 0) {
        tell(json_pack("{s:s, s:s}", "event", "failed", "why", err.msg));
        link_free(l);
        return 1;
    }
    while (read_commands(l) && link_step(l, 20, &err) == 0) {
        if (link_is_settled(l) != settled) {
            settled = !settled;
            tell(json_pack("{s:s, s:b}", "event", "settled", "settled", (int)settled));
        }
    }
    link_free(l);
    return 0;
}
