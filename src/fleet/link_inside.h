/* fleet/link_inside.h - what the files of the link share: connection (link.c), TLS (link_tls.c),
 * subscriptions and what is retained (link_feed.c), requests and replies (link_request.c). */
#ifndef FLEET_LINK_INSIDE_H
#define FLEET_LINK_INSIDE_H

#include <mosquitto.h>
#include <openssl/ssl.h>

#include "fleet/link.h"

struct jws_signer;
struct map;

#define UNACKED_MAX 100 /* requests that the broker has not taken yet */
#define QUIET_MS    200 /* nothing retained for so long, behind our own message */

enum phase {
    LINK_WAITING,  /* for the next attempt */
    LINK_DIALLING, /* TCP */
    LINK_GREETING, /* TLS, CONNECT */
    LINK_GRANTING, /* the first subscriptions are on their way */
    LINK_UP,
};

struct filter {
    char *topic; /* owned; whole */
    int qos;
    int mid;  /* of its SUBSCRIBE; 0: it has to be sent */
    bool own; /* for replies: without it we are not up */
    bool granted;
    bool paced; /* of many topics of many gateways, each of which is asked in its turn */
};

/* A request that may still be answered. */
struct pending {
    char *key, *id; /* owned; key: gateway, newline, id */
    unsigned sends; /* that were not answered yet */
};

/* One that the broker has not acknowledged. */
struct flight {
    int mid;
    size_t bytes;
    char *key;   /* owned */
    char *topic; /* owned */
};

struct link {
    struct link_conf conf; /* its strings are owned */
    struct link_events events;
    struct mosquitto *mosq;    /* owned; NULL: no attempt is under way */
    SSL_CTX *tls;              /* owned; NULL: plain */
    struct jws_signer *signer; /* owned; NULL: requests are not signed */
    char tag[32];              /* the level of the topic of our own replies */

    enum phase phase;
    bool v5, was_up;
    bool next_version; /* try 3.1.1 instead */
    size_t bind;       /* in binds */
    bool bind_good;    /* it has led to the broker */
    int64_t since_ms, retry_ms, misc_ms;
    uint32_t backoff_ms;
    char said[300];    /* what TLS, CONNACK or DISCONNECT have said of the end */
    char trouble[508]; /* see link_trouble */
    bool failed;       /* to be taken down at the next step */

    struct filter *filters; /* owned */
    size_t filter_count;
    /* Narrow filters, for what is retained: granted ones, those under way, those that wait. */
    char **asks; /* owned, each owned */
    size_t ask_count, asks_sent, asks_granted, ask_cap;
    size_t asks_most;      /* at once */
    int asks_mid;          /* of the SUBSCRIBE that is under way */
    uint64_t asked_from;   /* what had come when it was sent */
    uint64_t retained;     /* messages that have come */
    struct map *asked;     /* gateways that were, on this connection; the value is nothing */
    uint64_t marker;       /* number of our own latest message */
    uint64_t marker_least; /* of the first one behind what was asked for last */
    int64_t marker_ms;
    bool marker_back, settled;
    int64_t retained_ms; /* of the latest retained message */

    struct map *pending; /* values owned */
    struct flight flights[UNACKED_MAX];
    size_t flight_count, flight_bytes;
    struct link_counts counts;
};

/* -- link_tls.c ------------------------------------------------------------------------------- */

/* Sets l->tls, where the configuration wants TLS. */
int link_tls_new(struct link *l, struct err *err);
/* In the middle of a handshake?  Does it wait for room to write? */
bool link_tls_is_greeting(const struct link *l);
bool link_tls_wants_write(const struct link *l);

/* -- link_feed.c ------------------------------------------------------------------------------ */

int link_feed_add(struct link *l, const char *rest, bool own, struct err *err);
void link_feed_subscribe(struct link *l); /* whatever was not yet; before LINK_UP own ones */
void link_feed_granted(struct link *l, int mid, int n, const int *granted);
bool link_feed_is_ready(const struct link *l); /* for replies */
/* A gateway has become known: what is wanted of all is asked of it. */
void link_feed_gateway(struct link *l, const char *gateway);
/* A message of our own has come back. */
void link_feed_marker(struct link *l, const struct mosquitto_message *m);
void link_feed_look(struct link *l);  /* at the clock: go on asking, or be settled */
void link_feed_reset(struct link *l); /* the connection is gone: the next one begins anew */
void link_feed_fini(struct link *l);

/* -- link_request.c --------------------------------------------------------------------------- */

/* PUBACK, with its reason code. */
void link_request_taken(struct link *l, int mid, int rc);
void link_request_reply(struct link *l, const char *gateway, const struct mosquitto_message *m,
                        const mosquitto_property *properties);
void link_request_reset(struct link *l); /* the connection is gone: nothing is acknowledged */
void link_request_fini(struct link *l);

int link_no_memory(struct err *err);

#endif
