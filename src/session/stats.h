/* session/stats.h - what a worker counts.  Plain data, owned by the worker's thread, copied to
 * main. */
#ifndef SESSION_STATS_H
#define SESSION_STATS_H

#include <stdint.h>

#include "base/histogram.h"

struct worker_stats {
    uint64_t sessions;          /* now */
    uint64_t legs_up;           /* accepted upstream legs, now */
    uint64_t accepted, refused; /* downstream connections */
    uint64_t exceptions; /* of those accepted, by exception: see exceptions in certflip.conf(5) */
    uint64_t packets_in, packets_out, bytes_in,
        bytes_out; /* downstream side, from and to devices; MQTT, not TLS */
    uint64_t publishes_up, publishes_down;
    uint64_t publishes_denied; /* those that a broker refused with a 5.0 reason code */
    uint64_t
        packets_inexpressible; /* of devices: not to be said in the dialect of the upstream leg */
    uint64_t rehomes, rehomes_failed;
    uint64_t ways_back;  /* of those that failed after DISCONNECT: the spare was taken */
    uint64_t spareless;  /* sessions that left without a spare */
    uint64_t taken_over; /* legs that another client took over, as far as one can know */
    uint64_t replayed;   /* publishes sent again by a re-home */
    uint64_t restored_subscriptions; /* subscribed again because the broker had no session */
    uint64_t restore_refused;        /* of these, not granted again */
    uint64_t retained_suppressed;    /* retained messages that came because of these subscriptions,
                                        and that the device had had */
    uint64_t publishes_lowered; /* sent with less QoS, or without RETAIN: their broker allows no
                                   more */
    uint64_t publishes_shed;    /* of devices without an uplink, QoS 0, beyond limits.queue_bytes */
    uint64_t rehome_lost;       /* messages that a re-home could not save */
    uint64_t echoes;            /* of identities on trial that came back */
    uint64_t evidence_refused;  /* answers that an identity on trial should not have got */
    uint64_t hold_us_max, hold_us_sum;
    struct histogram holds;             /* of rehomes */
    struct histogram device_handshakes; /* TLS, from accept to its end; those that went well */
    struct histogram broker_handshakes; /* TLS, from the end of TCP's */
    uint64_t cut_revoked;               /* sessions ended because their certificate was revoked */
    uint64_t cut_distrusted;            /* and because their anchor was taken away */
    uint64_t crl_missing;  /* handshakes that went well though a list was missing, on either side */
    uint64_t crl_stale;    /* or was out of date */
    uint64_t ocsp_missing; /* handshakes with brokers that went well without an OCSP response */
    uint64_t ocsp_stale;   /* with one that is out of date */
    uint64_t ocsp_invalid; /* with one that proves nothing, or does not know the certificate */
    uint64_t downstream_closed_by_peer, downstream_closed_by_us;
};

#endif
