#include "base/subnet.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned bits)
{
    if (memcmp(a, b, bits / 8) != 0)
        return false;
    return bits % 8 == 0 || ((a[bits / 8] ^ b[bits / 8]) >> (8 - bits % 8)) == 0;
}

bool subnet_has(const struct subnet *nets, size_t count, const struct sockaddr *sa)
{
    const uint8_t *addr;
    int family;

    if (sa == NULL || (sa->sa_family != AF_INET && sa->sa_family != AF_INET6))
        return false;
    family = sa->sa_family;
    if (family == AF_INET) {
        addr = (const uint8_t *)&((const struct sockaddr_in *)(const void *)sa)->sin_addr;
    } else {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr;

        addr = six->s6_addr;
        if (IN6_IS_ADDR_V4MAPPED(six)) { /* an IPv4 peer of a socket for both families */
            family = AF_INET;
            addr += 12;
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (nets[i].family == family && same_bits(nets[i].addr, addr, nets[i].bits))
            return true;
    }
    return false;
}
