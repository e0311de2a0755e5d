/* mqtt/topic.h - topic names and filters (MQTT 5.0, 4.7 and 4.8).  Pure. */
#ifndef MQTT_TOPIC_H
#define MQTT_TOPIC_H

#include <stdbool.h>

#include "base/str.h"

bool mqtt_topic_valid(struct slice topic);   /* a name: not empty, UTF-8, no wildcards */
bool mqtt_filter_valid(struct slice filter); /* a filter, shared ones included */
bool mqtt_filter_valid_in(struct slice filter, int version); /* 3.x: "$share/" means nothing */
bool mqtt_filter_is_shared(struct slice filter);             /* starts with "$share/" */

/* Does a filter that is valid match a topic name?  '$' topics are not matched by leading wildcards;
 * of a shared filter the part behind the share's name counts. */
bool mqtt_filter_matches(struct slice filter, struct slice topic);

#endif
