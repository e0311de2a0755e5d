/* base/subnet.h - networks of IP addresses.  Pure, any thread. */
#ifndef BASE_SUBNET_H
#define BASE_SUBNET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct subnet {
    int family;       /* AF_INET or AF_INET6 */
    uint8_t addr[16]; /* network order; IPv4 uses the first 4 bytes */
    unsigned bits;
};

struct sockaddr;

/* Is the address in one of them?  An IPv4 peer of an IPv6 socket counts as what it is; NULL and
 * other families are in none. */
bool subnet_has(const struct subnet *nets, size_t count, const struct sockaddr *sa);

#endif
