/* bench_mqtt.c [SECONDS] - what the codec alone costs: frames and decodes runs of 200-byte QoS 0
 * messages, in chunks as a socket hands them out, and prints packets per second of one core's time.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mqtt/publish.h"

#define CHUNK_BYTES  65536u
#define PACKET_BYTES 200u

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* As many whole messages as fit into a chunk, and the start of one more. */
static int fill(struct buf *b, int version)
{
    static const uint8_t zeros[PACKET_BYTES];
    struct mqtt_publish m = {.topic = slice_of("plant/line-4/press-12/temperature")};

    m.payload = (struct slice){zeros, PACKET_BYTES - 3 - 2 - m.topic.n - (version == MQTT_V5)};
    b->len = 0;
    while (b->len < CHUNK_BYTES) {
        int rc = mqtt_publish_write(b, version, &m);

        if (rc != 0)
            return rc;
    }
    return 0;
}

static void run(struct buf *b, int version, size_t chunk, double seconds)
{
    struct mqtt_in in = {.part = NULL};
    unsigned long packets = 0, payload = 0;
    double start = cpu_s();
    double spent = 0;

    while (spent < seconds) {
        for (size_t at = 0; at < b->len; at += chunk) {
            const uint8_t *p = b->p + at;
            size_t n = b->len - at < chunk ? b->len - at : chunk;
            struct mqtt_packet pkt;
            struct mqtt_publish m;
            uint8_t reason;

            while (mqtt_in_next(&in, &p, &n, MQTT_LARGEST_PACKET, &pkt) == 1) {
                if (mqtt_publish_read(&pkt, version, MQTT_TO_SERVER, &m, &reason, NULL) != 0)
                    abort();
                packets++;
                payload += m.payload.n;
            }
        }
        spent = cpu_s() - start;
    }
    mqtt_in_fini(&in);
    printf(
        "mqtt %-5s chunks of %6zu bytes: %6.2f million packets/s, %5.1f ns each, %lu MB of payload\n",
        mqtt_version_name(version), chunk, (double)packets / spent / 1e6,
        spent * 1e9 / (double)packets, payload >> 20);
}

int main(int argc, char **argv)
{
    static const int versions[] = {MQTT_V311, MQTT_V5};
    static const size_t chunks[] = {CHUNK_BYTES, 16384, 1400, 230};
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    struct buf b = {.p = NULL};

    for (size_t v = 0; v < sizeof versions / sizeof versions[0]; v++) {
        if (fill(&b, versions[v]) != 0)
            return 1;
        for (size_t c = 0; c < sizeof chunks / sizeof chunks[0]; c++)
            run(&b, versions[v], chunks[c], seconds);
    }
    buf_fini(&b);
    return 0;
}
