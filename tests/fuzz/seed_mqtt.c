/* seed_mqtt.c DIRECTORY - writes the fuzzer's first inputs, one file per direction, version and
 * kind, out of the packets that the unit tests take for good.  Run by "make fuzz-seeds" when those
 * change. */
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

int main(int argc, char **argv)
{
    static uint8_t bytes[256 * SAMPLE_MAX_BYTES];
    int rc = 0;

    if (argc != 2) {
        fprintf(stderr, "usage: seed_mqtt DIRECTORY\n");
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
            }
        }
    }
    return rc;
}
