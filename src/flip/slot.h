/* flip/slot.h - the two identities of a device, as one word.  Pure. */
#ifndef FLIP_SLOT_H
#define FLIP_SLOT_H

enum flip_slot {
    FLIP_OLD = 0, /* the identity that the device has been using */
    FLIP_NEW = 1, /* the one that it flips to */
};

#define FLIP_SLOTS 2

static inline enum flip_slot flip_other_slot(enum flip_slot slot)
{
    return slot == FLIP_OLD ? FLIP_NEW : FLIP_OLD;
}

const char *flip_slot_name(enum flip_slot slot); /* "old", "new" */

/* Returns 0, or -ERR_INVALID with *out unchanged. */
int flip_slot_parse(const char *name, enum flip_slot *out);

#endif
