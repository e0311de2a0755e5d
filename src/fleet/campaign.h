/* fleet/campaign.h - the campaign file: what an operator wants to come to pass.
 *
 * certflip-fleet.conf(5) tells of each key.  Read once; immutable afterwards.  Every fault of the
 * file is found in one run.  Texts that may be left out are NULL then.  Blocks; one thread.
 */
#ifndef FLEET_CAMPAIGN_H
#define FLEET_CAMPAIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/schema.h"
#include "fleet/window.h"

#define CAMPAIGN_WAVES_MAX 9 /* the pilot, and eight of a percentage */

/* The rows of the file, for its reader and for tests of the manual. */
extern const struct conf_table campaign_table;

enum campaign_set { CAMPAIGN_UPSTREAM = 1, CAMPAIGN_DOWNSTREAM };
enum campaign_confirm { CAMPAIGN_AUTO = 1, CAMPAIGN_CENTRAL };
enum campaign_evidence { CAMPAIGN_GATEWAYS_OWN, CAMPAIGN_CONNACK, CAMPAIGN_ECHO };

/* One certificate of a CA. */
struct campaign_ca {
    char fp[65];   /* SHA-256, lower-case hex */
    char *subject; /* owned */
    char *pem;     /* owned: this one alone */
};

/* An entry of `trust`, or of retire.anchors. */
struct campaign_anchor {
    int set; /* enum campaign_set */
    char *file;
    char *note;              /* NULL: none */
    struct campaign_ca *cas; /* owned: what the file holds */
    size_t ca_count;
};

struct campaign {
    char *name;
    char *root;
    char *ledger; /* path */

    struct {
        char *host;
        uint16_t port;
        char *client_id, *username, *password_file;
        char *ca_file, *cert_file, *key_file;
        char *tls_name;
        uint32_t keepalive_s;
    } broker;
    struct {
        char *name, *key_file; /* both or none */
        uint32_t expiry_s;
    } operator;

    char **gateways, **devices, **exclude_gateways, **exclude_devices, **pilot_devices; /* globs */
    size_t gateway_count, device_count, exclude_gateway_count, exclude_device_count, pilot_count;

    struct {
        int key; /* campaign_key_name; 0: what the gateway's configuration says */
        char *token;
        char *subject; /* template */
        char **sans;   /* templates */
        size_t san_count;
    } identity;
    struct {
        char *command;
        char *ca_cert_file, *ca_key_file;
        char *anchor_file; /* NULL: not known */
        uint32_t days, backdate_h, timeout_s, parallel;
    } sign;
    struct campaign_anchor *trust;
    size_t trust_count;

    struct {
        uint32_t pilot; /* devices; 0: no pilot */
        uint32_t percent[CAMPAIGN_WAVES_MAX - 1];
        size_t percent_count;
        uint32_t soak_s;
        uint32_t threshold; /* thousandths of a percent */
    } waves;
    struct {
        uint32_t probation_s, confirm_s; /* 0: the gateway's own */
        int confirm, evidence;           /* enums of above */
        uint32_t attempts;
    } flip;
    char **ignore; /* classes of failures that do not count */
    size_t ignore_count;
    char **windows;
    size_t window_count;
    char *timezone;
    struct windows hours; /* of the two before */
    struct {
        uint32_t per_gateway, in_flight, keygen_per_gateway;
        uint32_t reply_timeout_s, offline_wait_s, wave_timeout_s; /* the latter 0: none */
    } limits;
    struct {
        bool identities;
        struct campaign_anchor *anchors;
        size_t anchor_count;
        uint32_t validate_s;
    } retire;

    char *path;      /* of the file itself */
    char *password;  /* owned, wiped: what password_file holds; NULL: none */
    char digest[65]; /* of what must not change once the campaign has begun: hex */
};

/* Which of the other files that a campaign file names are read with it: what a command has no use
 * for need not be there. */
enum campaign_files {
    CAMPAIGN_ALONE = 0,        /* none: anchors are not known then, and `digest` is none */
    CAMPAIGN_BROKER = 1 << 0,  /* what connecting takes: TLS, password, the operator's key */
    CAMPAIGN_ANCHORS = 1 << 1, /* those of trust and retire: the digest needs them */
    CAMPAIGN_SIGN = 1 << 2,    /* those of sign */
    CAMPAIGN_ALL = CAMPAIGN_BROKER | CAMPAIGN_ANCHORS | CAMPAIGN_SIGN,
};

/* Read it, with these files (bits of enum campaign_files).  Returns owned; or NULL, with all faults
 * ("file:line: key: what is wrong: what is allowed\n") appended to `faults` and their number in
 * *count. */
struct campaign *campaign_load(const char *path, unsigned files, struct buf *faults,
                               unsigned *count);
/* The same from memory, for tests: no other file is looked at, so there are no certificates. */
struct campaign *campaign_load_text(const char *name, const char *text, size_t n,
                                    struct buf *faults, unsigned *count);
void campaign_free(struct campaign *c); /* NULL is fine */

/* "ec-p256", as identity.keygen has it; NULL for 0. */
const char *campaign_key_name(int key);
const char *campaign_set_name(int set); /* "upstream" */

/* Is the device one of those that the campaign is about? */
bool campaign_wants_gateway(const struct campaign *c, const char *gateway);
bool campaign_wants_device(const struct campaign *c, const char *device);
/* Is it named by pilot_devices: "DEVICE" or "GATEWAY/DEVICE"? */
bool campaign_wants_first(const struct campaign *c, const char *gateway, const char *device);
/* Is the gateway left out by name: exclude_gateways? */
bool campaign_excludes_gateway(const struct campaign *c, const char *gateway);
/* Does a failure of this class count? */
bool campaign_counts(const struct campaign *c, const char *failure);

#endif
