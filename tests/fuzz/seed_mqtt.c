/* seed_mqtt.c DIRECTORY DIRECTORY - writes the first inputs of fuzz_mqtt and of fuzz_convert, one
 * file per direction, version and kind, out of the packets that the unit tests take for good.  Run
 * by "make fuzz-seeds" when those change. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mqtt_samples.h"

static const struct {
    int version;
    uint8_t choice; /* as in fuzz_mqtt.c */
    const char *name;
} versions[] = {
    {MQTT_V311, 0, "v311"},
    {MQTT_V5, 1, "v5"},
    {MQTT_V31, 2, "v31"},
};

static int write_seed(const char *dir, const char *name, const uint8_t *p, size_t n)
{
    char path[4096];
    FILE *f;
    int rc;

    snprintf(path, sizeof path, "%s/%s", dir, name);
    f = fopen(path, "wb");
    if (f == NULL) {
        perror(path);
        return 1;
    }
    rc = fwrite(p, 1, n, f) != n;
    rc |= fclose(f) != 0;
    if (rc != 0)
        perror(path);
    return rc;
}

/* All packets of a list that are good in this version and direction, as one stream. */
static size_t stream_of(const struct sample *s, size_t count, int version, enum mqtt_dir dir,
                        bool connects, uint8_t *out)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if ((s[i].versions >> version & 1) != 0 && s[i].dir == dir &&
            (strncmp(s[i].text, "10", 2) == 0) == connects)
            n += sample_bytes(s[i].text, out + n);
    }
    return n;
}

/* What can be converted, to the version that it is not, with a prefix. */
static int write_converted(const char *dir, const char *name, int version, bool to_client,
                           uint8_t *bytes, size_t n)
{
    unsigned from = version == MQTT_V311 ? 0
                    : version == MQTT_V5 ? 1
                                         : 2; /* as in fuzz_convert.c */
    unsigned to = version == MQTT_V5 ? 0 : 1;

    bytes[2] = (uint8_t)(from | to << 2 | (to_client ? 16 : 0) | 1 << 5);
    return write_seed(dir, name, bytes + 2, n - 2);
}

int main(int argc, char **argv)
{
    static uint8_t bytes[256 * SAMPLE_MAX_BYTES];
    int rc = 0;

    if (argc != 3) {
        fprintf(stderr, "usage: seed_mqtt DIRECTORY DIRECTORY\n");
        return 2;
    }
    for (size_t v = 0; v < sizeof versions / sizeof versions[0]; v++) {
        for (int dir = 0; dir < 2; dir++) {
            for (int connects = 0; connects < 2 - dir; connects++) {
                enum mqtt_dir to = dir == 0 ? MQTT_TO_SERVER : MQTT_TO_CLIENT;
                char name[64];
                size_t n = 3;

                bytes[0] = (uint8_t)(versions[v].choice | (dir != 0 ? 4 : 0));
                bytes[1] = 6;
                bytes[2] = (uint8_t)v;
                n += stream_of(samples, samples_count, versions[v].version, to, connects != 0,
                               bytes + n);
                n += stream_of(odd_samples, odd_samples_count, versions[v].version, to,
                               connects != 0, bytes + n);
                snprintf(name, sizeof name, "%s-%s%s", versions[v].name,
                         dir == 0 ? "to-server" : "to-client", connects != 0 ? "-connect" : "");
                rc |= write_seed(argv[1], name, bytes, n);
                if (connects == 0)
                    rc |= write_converted(argv[2], name, versions[v].version, dir != 0, bytes, n);
            }
        }
    }
    return rc;
}
