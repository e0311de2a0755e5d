#include "fleet/progress.h"

#include <string.h>

#define NAME(id, name, words)  [id] = (name),
#define WORDS(id, name, words) [id] = (words),

static const char *const phase_names[] = {FLEET_PHASES(NAME)};
static const char *const mode_names[] = {FLEET_MODES(NAME)};
static const char *const device_names[] = {FLEET_DEVICE_STEPS(NAME)};
static const char *const gateway_names[] = {FLEET_GATEWAY_STEPS(NAME)};
static const char *const request_names[] = {FLEET_REQUEST_STATES(NAME)};
static const char *const phase_words[] = {FLEET_PHASES(WORDS)};
static const char *const mode_words[] = {FLEET_MODES(WORDS)};
static const char *const device_words[] = {FLEET_DEVICE_STEPS(WORDS)};

static int find(const char *const *names, int count, const char *name)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(names[i], name) == 0)
            return i;
    }
    return -1;
}

const char *fleet_phase_name(enum fleet_phase v)
{
    return phase_names[v];
}

const char *fleet_mode_name(enum fleet_mode v)
{
    return mode_names[v];
}

const char *fleet_device_step_name(enum fleet_device_step v)
{
    return device_names[v];
}

const char *fleet_gateway_step_name(enum fleet_gateway_step v)
{
    return gateway_names[v];
}

const char *fleet_request_state_name(enum fleet_request_state v)
{
    return request_names[v];
}

const char *fleet_phase_words(enum fleet_phase v)
{
    return phase_words[v];
}

const char *fleet_mode_words(enum fleet_mode v)
{
    return mode_words[v];
}

const char *fleet_device_step_words(enum fleet_device_step v)
{
    return device_words[v];
}

int fleet_phase_find(const char *name)
{
    return find(phase_names, FLEET_PHASE_COUNT, name);
}

int fleet_mode_find(const char *name)
{
    return find(mode_names, FLEET_MODE_COUNT, name);
}

int fleet_device_step_find(const char *name)
{
    return find(device_names, FLEET_DEVICE_STEP_COUNT, name);
}

int fleet_gateway_step_find(const char *name)
{
    return find(gateway_names, FLEET_GATEWAY_STEP_COUNT, name);
}

int fleet_request_state_find(const char *name)
{
    return find(request_names, FLEET_REQUEST_STATE_COUNT, name);
}
