/* The words stand in the catalogue.  This file is the order in which the facts are asked: what the
 * peer said counts before what we guess.
 */
#include "flip/diagnose.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *const stage_names[] = {
    [DIAG_AT_DNS] = "dns",         [DIAG_AT_TCP] = "tcp",
    [DIAG_AT_TLS] = "tls",         [DIAG_AT_CONNECT] = "connect",
    [DIAG_AT_CONNACK] = "connack", [DIAG_AT_ESTABLISHED] = "established",
};

const char *diag_stage_name(enum diag_stage s)
{
    return (unsigned)s < COUNT(stage_names) ? stage_names[s] : "unknown";
}

/* `scope` and the row's word make the stable name; the detail, when there is one, ends the
 * sentence. */
static struct diag say(const struct diag_in *in, const char *scope, const struct catalogue_row *row)
{
    struct diag d = {.class = row->class};
    bool detailed = in->detail != NULL && *in->detail != '\0';

    snprintf(d.name, sizeof(d.name), "%s.%s", scope, row->word);
    snprintf(d.sentence, sizeof(d.sentence), "%s%s%s", row->sentence, detailed ? ": " : "",
             detailed ? in->detail : "");
    str_tidy(d.sentence); /* a detail comes from a peer, and may be cut within a character */
    snprintf(d.remedy, sizeof(d.remedy), "%s", row->remedy);
    return d;
}

static struct diag say_end(const struct diag_in *in, const char *scope, enum catalogue_end end)
{
    return say(in, scope, catalogue_by_code(CATALOGUE_END, (int)end));
}

struct diag diag_of(const struct catalogue_row *row, const char *sentence)
{
    struct diag d = {.class = row->class};

    (void)catalogue_name(row, 0, d.name, sizeof(d.name));
    snprintf(d.sentence, sizeof(d.sentence), "%s", sentence != NULL ? sentence : row->sentence);
    snprintf(d.remedy, sizeof(d.remedy), "%s", row->remedy);
    return d;
}

/* An end without a word may be a refusal once the broker has seen who we are, until it has accepted
 * us. */
static bool may_be_refusal(const struct diag_in *in)
{
    return in->stage < DIAG_AT_ESTABLISHED && (in->tls_after_cert || in->stage == DIAG_AT_CONNACK);
}

static struct diag by_nameless_alert(const struct diag_in *in)
{
    struct catalogue_row row = *catalogue_by_code(CATALOGUE_END, END_ALERT_WITHOUT_NAME);
    char word[24], sentence[80];

    snprintf(word, sizeof(word), "alert-%d", in->tls_alert);
    snprintf(sentence, sizeof(sentence), "the broker sent the TLS alert %d, which has no name",
             in->tls_alert);
    row.word = word;
    row.sentence = sentence;
    if (!may_be_refusal(in))
        row.class = DIAG_PROTOCOL;
    return say(in, "tls", &row);
}

static struct diag by_alert(const struct diag_in *in)
{
    const struct catalogue_row *known = catalogue_by_code(CATALOGUE_ALERT, in->tls_alert);
    struct catalogue_row row;

    if (known == NULL)
        return by_nameless_alert(in);
    if (known->class == DIAG_IDENTITY && !may_be_refusal(in) && in->stage < DIAG_AT_ESTABLISHED)
        return say_end(in, "tls", END_REFUSED_EARLY);
    row = *known;
    if (row.class == DIAG_SUSPECT && !may_be_refusal(in))
        row.class = row.code == 0 ? DIAG_NETWORK : DIAG_POLICY;
    return say(in, "tls", &row);
}

static struct diag by_certificate(const struct diag_in *in)
{
    const struct catalogue_row *row = NULL;

    if (in->tls_x509 != NULL)
        row = catalogue_by_also(CATALOGUE_TRUST, in->tls_x509);
    if (row == NULL && in->tls_word != NULL)
        row = catalogue_by_word(CATALOGUE_TRUST, in->tls_word);
    if (row == NULL)
        row = catalogue_by_word(CATALOGUE_TRUST, "rejected");
    return say(in, "trust", row);
}

static struct diag by_meaningless_code(const struct diag_in *in, const char *scope)
{
    struct catalogue_row row = *catalogue_by_code(CATALOGUE_END, END_CODE_WITHOUT_MEANING);
    char word[24], sentence[80];

    snprintf(word, sizeof(word), "0x%02x", (unsigned)in->code);
    snprintf(sentence, sizeof(sentence),
             "the broker answered with the code 0x%02x, which has no meaning", (unsigned)in->code);
    row.word = word;
    row.sentence = sentence;
    return say(in, scope, &row);
}

static struct diag by_code(const struct diag_in *in)
{
    enum catalogue_id table = in->mqtt_version >= 5 ? CATALOGUE_REASON : CATALOGUE_CONNACK;
    const char *scope = in->stage == DIAG_AT_ESTABLISHED ? "disconnect" : "connack";
    const struct catalogue_row *row = catalogue_by_code(table, in->code);

    if (in->stage == DIAG_AT_ESTABLISHED && in->code == 0)
        return say_end(in, scope, END_IN_ORDER);
    if (row == NULL || (table == CATALOGUE_REASON && !catalogue_has_scope(row, scope)))
        return by_meaningless_code(in, scope); /* or that of another packet */
    return say(in, scope, row);
}

static struct diag by_errno(const struct diag_in *in, const char *scope)
{
    const struct catalogue_row *known = catalogue_by_code(CATALOGUE_WAY, in->errnum);
    struct catalogue_row row;
    char word[24];

    if (known != NULL)
        return say(in, scope, known);
    row = *catalogue_by_code(CATALOGUE_END, END_ERRNO);
    snprintf(word, sizeof(word), "errno-%d", in->errnum);
    row.word = word;
    return say(in, scope, &row);
}

static struct diag on_the_way(const struct diag_in *in)
{
    if (in->stage == DIAG_AT_DNS)
        return say_end(in, "dns", in->timed_out ? END_DNS_TIMEOUT : END_DNS_FAILED);
    if (in->timed_out)
        return say_end(in, "tcp", END_TCP_TIMEOUT);
    return by_errno(in, "tcp");
}

static struct diag timed_out(const struct diag_in *in)
{
    const char *scope = diag_stage_name(in->stage);

    if (in->stage == DIAG_AT_CONNACK)
        return say_end(in, scope, END_CONNACK_TIMEOUT);
    if (in->stage == DIAG_AT_ESTABLISHED)
        return say_end(in, scope, END_ESTABLISHED_TIMEOUT);
    return say_end(in, scope, END_HANDSHAKE_TIMEOUT);
}

/* Everything behind TCP that ended without a word, or by a failure of ours. */
static struct diag without_a_word(const struct diag_in *in)
{
    bool ended =
        in->eof || in->tls_side == DIAG_TLS_EOF || in->errnum == ECONNRESET || in->errnum == EPIPE;
    const char *scope = diag_stage_name(in->stage);

    if (in->timed_out)
        return timed_out(in);
    if (ended && may_be_refusal(in))
        return say_end(in, scope,
                       in->stage == DIAG_AT_CONNACK ? END_CLOSED_FOR_CONNACK
                                                    : END_CLOSED_AFTER_CERTIFICATE);
    if (ended && in->stage == DIAG_AT_TLS && !in->tls_after_hello)
        return say_end(in, "tls", END_NO_SERVER);
    if (ended)
        return say_end(in, scope, END_CLOSED);
    if (in->tls_side == DIAG_TLS_LOCAL)
        return say_end(in, "tls",
                       !in->tls_after_hello && in->stage == DIAG_AT_TLS ? END_NOT_TLS : END_LOCAL);
    if (in->errnum != 0)
        return by_errno(in, scope);
    return say_end(in, scope, END_FAILED);
}

/* What an OpenSSL peer found in our certificate when it sends an alert of this number, where there
 * is one such cause: 42 stands for several. */
static const char *x509_behind(int alert)
{
    switch (alert) {
    case 43:
        return "X509_V_ERR_INVALID_PURPOSE";
    case 44:
        return "X509_V_ERR_CERT_REVOKED";
    case 45:
        return "X509_V_ERR_CERT_HAS_EXPIRED";
    case 48:
        return "X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY";
    default:
        return NULL;
    }
}

/* The names by which operators search. */
static void name_tls(const struct diag_in *in, struct diag *d)
{
    const struct catalogue_row *r;

    if (in->tls_side == DIAG_TLS_PEER_CERT)
        d->x509 = in->tls_x509;
    if (in->tls_side != DIAG_TLS_PEER_ALERT || in->tls_alert < 0)
        return;
    r = catalogue_by_code(CATALOGUE_ALERT, in->tls_alert);
    d->alert = r == NULL ? "unknown" : r->word;
    d->alert_number = in->tls_alert;
    d->x509 = x509_behind(in->tls_alert);
}

/* Nobody said anything, and the broker knew already who we are. */
static bool is_silence(const struct diag_in *in)
{
    bool ended = in->eof || in->timed_out || in->tls_side == DIAG_TLS_EOF ||
                 in->errnum == ECONNRESET || in->errnum == EPIPE;
    bool said = in->code >= 0 || in->tls_alert > 0 || in->tls_side == DIAG_TLS_PEER_CERT ||
                in->tls_side == DIAG_TLS_LOCAL;

    return ended && !said && (in->stage >= DIAG_AT_CONNACK || in->tls_after_cert) &&
           in->stage >= DIAG_AT_TLS;
}

/* A broker does not wait for CONNECT for ever (3.1.1, 4.8; 5.0, 4.13); whom it meant to refuse it
 * would have refused sooner. */
static bool is_impatience(const struct diag_in *in)
{
    return in->waited && in->stage == DIAG_AT_CONNECT && !in->timed_out && in->tls_alert <= 0 &&
           in->tls_side != DIAG_TLS_PEER_CERT && in->tls_side != DIAG_TLS_LOCAL;
}

static struct diag by_token(const struct diag_in *in, const char *word)
{
    const struct catalogue_row *row = catalogue_by_word(CATALOGUE_TOKEN, word);

    return say(in, "token", row != NULL ? row : catalogue_by_word(CATALOGUE_TOKEN, "failed"));
}

/* An end without a word after a signature that took long is impatience rather than a refusal. */
static bool is_late_token(const struct diag_in *in)
{
    return in->token_slow && in->stage <= DIAG_AT_CONNACK && in->tls_alert <= 0 && in->code < 0 &&
           in->tls_side != DIAG_TLS_PEER_CERT && in->tls_side != DIAG_TLS_LOCAL;
}

static struct diag judge(const struct diag_in *in)
{
    if (in->tls_side == DIAG_TLS_TOKEN)
        return by_token(in, in->tls_word == NULL ? "failed" : in->tls_word);
    if (is_late_token(in))
        return by_token(in, in->timed_out ? "silent" : "slow");
    if (is_impatience(in))
        return say_end(in, "connect", END_IMPATIENT);
    if (in->tls_side == DIAG_TLS_PEER_CERT)
        return by_certificate(in);
    if (in->tls_side == DIAG_TLS_PEER_ALERT && in->tls_alert >= 0)
        return by_alert(in);
    if (in->code >= 0 && (in->stage == DIAG_AT_CONNACK ||
                          (in->stage == DIAG_AT_ESTABLISHED && in->mqtt_version >= 5)))
        return by_code(in);
    if (in->stage <= DIAG_AT_TCP)
        return on_the_way(in);
    return without_a_word(in);
}

struct diag diagnose(const struct diag_in *in)
{
    struct diag d = judge(in);

    name_tls(in, &d);
    d.silent = is_silence(in) && !is_impatience(in) && !is_late_token(in) &&
               in->tls_side != DIAG_TLS_TOKEN;
    return d;
}

/* Of what is amiss with a token: what may pass by itself.  Nobody is dialled meanwhile. */
static bool passes(const char *name)
{
    static const char *const those[] = {"token.absent", "token.silent", "token.failed",
                                        "token.slow"};

    for (size_t i = 0; i < COUNT(those); i++)
        if (strcmp(name, those[i]) == 0)
            return true;
    return false;
}

enum diag_class diag_pace(const struct diag *d)
{
    if (passes(d->name))
        return DIAG_NETWORK;
    return d->class == DIAG_SUSPECT && d->silent ? DIAG_NETWORK : d->class;
}

struct diag diag_settle(const struct diag *d, bool other_works)
{
    struct diag out = *d;
    size_t n = strlen(d->sentence);

    if (d->class != DIAG_SUSPECT && d->class != DIAG_IDENTITY && !d->silent)
        return out;
    out.class = other_works ? DIAG_IDENTITY : DIAG_BROKER;
    snprintf(out.sentence + n, sizeof(out.sentence) - n, "%s",
             other_works ? "; the other identity was accepted" : "; the other identity fails, too");
    if (!other_works)
        snprintf(out.remedy, sizeof(out.remedy),
                 "not this identity's fault: look at the broker, its load and its log");
    return out;
}
