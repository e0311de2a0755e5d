/* identity/match.h - who is it?  Rules over what a connection has shown; pure.
 *
 * The rules are tried in the order of the file; the first one whose conditions all hold decides.  A
 * condition on something that was not shown does not hold, and neither does a rule whose name needs
 * it.  A rule without conditions (and without match.any) is only for the Unix listener that names
 * its device.
 */
#ifndef IDENTITY_MATCH_H
#define IDENTITY_MATCH_H

#include "base/str.h"
#include "conf/conf.h"

/* What is known about a connection.  Borrowed; absent things are NULL or empty. */
struct match_facts {
    const char *listener;
    const struct sockaddr *peer;
    const char *cn;
    const char *const *sans;
    size_t san_count;
    const char *issuer;
    const char *fingerprint; /* 64 lower-case hex digits, NULL without certificate */
    struct slice client_id;
    bool has_username, has_password;
    struct slice username, password;
};

#define MATCH_NAME_BYTES 129

struct match_result {
    const struct conf_rule *rule; /* borrowed from the conf */
    char device[MATCH_NAME_BYTES];
};

/* Returns 0; -ERR_NOT_FOUND when no rule holds (err names what was shown and the nearest rule's
 * failing condition); -ERR_INVALID when the rule's template gives no valid name; -ERR_DENIED when
 * it gives that of a device with a rule of its own, or when the client identifier is not the
 * device's (any_client_id = false); -ERR_NOMEM.  `out` is written on success only.  Passwords are
 * compared in constant time, and never shown. */
int match_device(const struct conf *conf, const struct match_facts *facts, struct match_result *out,
                 struct err *err);

/* Fill a template: {client_id} {device} {cn} {username} {password} {gateway} {san}; "{{" is a
 * brace. What is absent is empty; {san} is the first one.  Appends to `out`, which may hold a
 * password then. Returns 0, -ERR_NOMEM, or -ERR_INVALID for an unknown placeholder (impossible
 * after conf_load). */
int match_template(const char *template, const struct match_facts *facts, const char *device,
                   const char *gateway, struct buf *out);

/* Is it well-formed?  err names the unknown placeholder and those allowed. */
int match_template_check(const char *template, struct err *err);

#endif
