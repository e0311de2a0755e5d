/* conf/check.h - what no row of the schema can say by itself: how the settings fit together. */
#ifndef CONF_CHECK_H
#define CONF_CHECK_H

#include "conf/parse.h"

/* Fill in what follows from other settings (names, profiles, the management listener and its rule)
 * and report what does not fit.  Members that had faults before are NULL or 0 and are passed over.
 */
void check_all(struct parse *p);

#endif
