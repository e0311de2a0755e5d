/* mqtt_samples.h - good packets of every type, property and version, and a notation to write any.
 */
#ifndef MQTT_SAMPLES_H
#define MQTT_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

#include "mqtt/packet.h"

#define SAMPLE_MAX_BYTES 512

/* Writes the bytes that `text` describes to out[0..SAMPLE_MAX_BYTES) and returns their number.
 *
 *   1f a0     hex bytes, spaces between them do not matter
 *   'text'    these bytes
 *   <text>    a string: two bytes of length, then the text
 *   { ... }   a property list: its length, then the content
 *   :         the remaining length of all that follows
 */
size_t sample_bytes(const char *text, uint8_t *out);

/* The same, as a packet in fresh memory of exactly its size (so that a sanitizer sees each byte too
 * many).  Fails the test when the framer does not take it whole.  The caller frees pkt->raw by
 * sample_free. */
struct mqtt_packet sample_packet(const char *text);
void sample_free(struct mqtt_packet *pkt);

#define IN_31  (1u << MQTT_V31)
#define IN_311 (1u << MQTT_V311)
#define IN_5   (1u << MQTT_V5)
#define IN_3X  (IN_31 | IN_311)
#define IN_ALL (IN_3X | IN_5)

struct sample {
    unsigned versions; /* where it is good, as bits */
    enum mqtt_dir dir;
    const char *text;
};

/* All in the form in which our writers put them. */
extern const struct sample samples[];
extern const size_t samples_count;

/* Good as well, yet in a form that our writers do not choose. */
extern const struct sample odd_samples[];
extern const size_t odd_samples_count;

#endif
