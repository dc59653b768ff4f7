/*
 * A server that says to each client who it is, and what it has said; one after another.
 *
 *     cc -D_GNU_SOURCE -o echo echo.c
 *     ./echo 4433 www.example.org @example.org
 *
 * Clients have to show a certificate that the last word matches; without it anybody may come.
 */
#include "tlstunnel.h"

#include <err.h>
#include <netinet/in.h>

static void serve(int sock, const char *local, const char *remote)
{
    struct tlstunnel tls;
    char buffer[4096];
    ssize_t count;
    int plain = tlstunnel_start(&tls, sock, 15000, "role", "server", "local", local, "remote", remote, NULL);

    if (plain < 0) {
        warnx("%s: %s", tls.reason, tls.detail);
        return;
    }
    const char *who = tlstunnel_get(&tls, "remote");
    count = snprintf(buffer, sizeof buffer, "hello, %s\n", *who ? who : "whoever you are");
    while (count > 0 && send(plain, buffer, (size_t)count, MSG_NOSIGNAL) == count)
        count = read(plain, buffer, sizeof buffer);
    warnx("%s: %s", *who ? who : "somebody", tlstunnel_ended(&tls, 100));
    close(plain);
    tlstunnel_close(&tls);
}

int main(int argc, char **argv)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), sock, on = 1;

    if (argc != 3 && argc != 4)
        errx(2, "usage: echo PORT IDENTITY [SELECTOR]");
    address.sin_port = htons((unsigned short)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listening, (struct sockaddr *)&address, sizeof address) < 0 || listen(listening, 10) < 0)
        err(1, "port %s", argv[1]);
    while ((sock = accept4(listening, NULL, NULL, SOCK_CLOEXEC)) >= 0)
        serve(sock, argv[2], argc == 4 ? argv[3] : NULL);
    err(1, "accept");
}
