/*
 * TLS for programs in C, by the pool service of tlstunnel: hand over a connected socket, and get a
 * plaintext socket and proven identities. This file is all of it; it needs C99 and Linux, and no
 * library. Define _GNU_SOURCE before the first header.
 *
 *     struct tlstunnel tls;
 *     int plain = tlstunnel_start(&tls, connection, 15000,
 *                                 "role", "client", "remote", "mail.example.org", "starttls", "smtp", NULL);
 *     if (plain < 0)
 *         errx(1, "%s: %s", tls.reason, tls.detail);
 *     printf("this is %s\n", tlstunnel_get(&tls, "remote"));
 *     ... read(plain, ...), write(plain, ...) ...
 *     if (strcmp(tlstunnel_ended(&tls, 15000), "closed") != 0)
 *         errx(1, "not all of it has come: %s", tls.reason);
 *     close(plain);
 *     tlstunnel_close(&tls);
 *
 * Three things are for the program to see to:
 *   - What it has read of the connection into a buffer of its own, stdio's included, is not TLS. If there
 *     is anything left in one before it hands over, somebody may have injected it: give up.
 *   - When read() returns 0, that may be the end or a cut: tlstunnel_ended() tells. With "plain", "tcp"
 *     among the fields read() fails instead after a cut.
 *   - write() raises SIGPIPE on a connection that is gone, as on any socket.
 *
 * The MIT License
 *
 * Copyright (c) The tlstunnel authors
 *
 * Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
 * documentation files (the "Software"), to deal in the Software without restriction, including without limitation
 * the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to
 * permit persons to whom the Software is furnished to do so, subject to the following conditions:
 *
 * The above copyright notice and this permission notice shall be included in all copies or substantial portions of
 * the Software.
 *
 * THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
 * WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS
 * OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
 * OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
 */
#ifndef TLSTUNNEL_H
#define TLSTUNNEL_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Where the pool is, unless TLSTUNNEL_POOL in the environment says otherwise. */
#define TLSTUNNEL_PATH "/run/tlstunnel/pool.sock"

/* Milliseconds within which the pool answers what takes it no time. */
#define TLSTUNNEL_PATIENCE 15000

/* The most bytes of a message, and more descriptors than ever come with one. */
#define TLSTUNNEL_MESSAGE 65536
#define TLSTUNNEL_DESCRIPTORS 8

#ifdef __GNUC__
#define TLSTUNNEL_SENTINEL __attribute__((sentinel))
#else
#define TLSTUNNEL_SENTINEL
#endif

/* One connection. Not for several threads at once. */
struct tlstunnel {
    int control;        /* the connection to the pool; -1 if there is none */
    int verified;       /* whether the peer is; see tlstunnel_verify() */
    int owed;           /* questions without an answer yet */
    char reason[64];    /* after an error: a word for programs */
    char detail[1024];  /* and a sentence for people */
    char ending[64];    /* how the peer's direction has ended; empty as long as that is not known */
    char answer[8192];  /* what is proven: KEY=VALUE, each with a NUL */
    size_t answer_size;
};

/* What begins with tlstunnel__ is for the functions below. */

static inline int tlstunnel__fail(struct tlstunnel *t, const char *reason, const char *detail)
{
    snprintf(t->reason, sizeof t->reason, "%s", reason);
    snprintf(t->detail, sizeof t->detail, "%s", detail);
    return -1;
}

static inline long long tlstunnel__now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static inline long long tlstunnel__deadline(int timeout)
{
    return timeout < 0 ? -1 : tlstunnel__now() + timeout;
}

static inline int tlstunnel__left(long long deadline)
{
    long long left;

    if (deadline < 0)
        return -1;
    left = deadline - tlstunnel__now();
    return left < 0 ? 0 : (int)left;
}

/* The value of a key in lines that end with NUL each; "" if there is none. */
static inline const char *tlstunnel__find(const char *text, size_t size, const char *key)
{
    size_t length = strlen(key);
    const char *end = text + size;

    while (text < end) {
        if (strncmp(text, key, length) == 0 && text[length] == '=')
            return text + length + 1;
        text += strlen(text) + 1;
    }
    return "";
}

/* Write KEY=VALUE; a value cannot be another line. */
static inline int tlstunnel__add(struct tlstunnel *t, char *request, const char *key, const char *value)
{
    size_t used = strlen(request);
    const unsigned char *each;

    for (each = (const unsigned char *)value; *each != 0; each++)
        if (*each < ' ' || *each == 0x7f)
            return tlstunnel__fail(t, "syntax", "a value has a control character");
    if (used + strlen(key) + strlen(value) + 3 > TLSTUNNEL_MESSAGE)
        return tlstunnel__fail(t, "syntax", "the request is too long");
    snprintf(request + used, TLSTUNNEL_MESSAGE - used, "%s=%s\n", key, value);
    return 0;
}

static inline int tlstunnel__connect(struct tlstunnel *t, long long deadline)
{
    const char *path = getenv("TLSTUNNEL_POOL");
    struct sockaddr_un address;
    struct timeval limit;
    char why[256];
    int left, result;

    if (path == NULL || *path == 0)
        path = TLSTUNNEL_PATH;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    if (strlen(path) >= sizeof address.sun_path)
        return tlstunnel__fail(t, "gone", "the path of the pool is too long");
    strcpy(address.sun_path, path);
    t->control = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (t->control < 0)
        return tlstunnel__fail(t, "gone", strerror(errno));
    left = deadline < 0 ? TLSTUNNEL_PATIENCE : tlstunnel__left(deadline) + 1;
    limit.tv_sec = left / 1000;
    limit.tv_usec = left % 1000 * 1000;
    setsockopt(t->control, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    do
        result = connect(t->control, (struct sockaddr *)&address, sizeof address);
    while (result < 0 && errno == EINTR);
    if (result < 0 && errno == EAGAIN)
        return tlstunnel__fail(t, "timeout", "the pool does not answer");
    if (result < 0) {
        snprintf(why, sizeof why, "no pool at %s: %s", path, strerror(errno));
        return tlstunnel__fail(t, "gone", why);
    }
    return 0;
}

/* Send a message; a pool that does not take it does not answer either. */
static inline void tlstunnel__send(struct tlstunnel *t, char *text, int descriptor)
{
    struct iovec part = {text, strlen(text)};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(sizeof(int))];
    } rights;
    struct msghdr message;
    ssize_t result;

    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (descriptor >= 0) {
        memset(&rights, 0, sizeof rights);
        rights.head.cmsg_level = SOL_SOCKET;
        rights.head.cmsg_type = SCM_RIGHTS;
        rights.head.cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(&rights.head), &descriptor, sizeof(int));
        message.msg_control = &rights;
        message.msg_controllen = sizeof rights;
    }
    do
        result = sendmsg(t->control, &message, MSG_NOSIGNAL);
    while (result < 0 && errno == EINTR);
}

/*
 * Receive a message into TEXT, of TLSTUNNEL_MESSAGE + 1 bytes.
 *
 * descriptor: where to put what came along, -1 if not one; NULL if nothing is wanted.
 * returns its length; 0 at the end of all messages; -1 after an error.
 */
static inline ssize_t tlstunnel__receive(struct tlstunnel *t, long long deadline, char *text, int *descriptor)
{
    struct iovec part = {text, TLSTUNNEL_MESSAGE};
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(TLSTUNNEL_DESCRIPTORS * sizeof(int))];
    } rights;
    struct msghdr message;
    struct cmsghdr *each;
    struct pollfd waiting = {t->control, POLLIN, 0};
    ssize_t length;
    int ready, number, count = 0, first = -1;
    size_t at;

    for (;;) {
        ready = poll(&waiting, 1, tlstunnel__left(deadline));
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready == 0)
            return tlstunnel__fail(t, "timeout", "the pool does not answer in time");
        memset(&message, 0, sizeof message);
        message.msg_iov = &part;
        message.msg_iovlen = 1;
        message.msg_control = &rights;
        message.msg_controllen = sizeof rights;
        length = recvmsg(t->control, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (length >= 0)
            break;
        /* A reset comes once, and before what is still to be read. */
        if (errno != EINTR && errno != EAGAIN && errno != ECONNRESET)
            return tlstunnel__fail(t, "gone", strerror(errno));
    }
    for (each = CMSG_FIRSTHDR(&message); each != NULL; each = CMSG_NXTHDR(&message, each)) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_RIGHTS)
            continue;
        for (at = 0; CMSG_LEN(at + sizeof(int)) <= each->cmsg_len; at += sizeof(int)) {
            memcpy(&number, CMSG_DATA(each) + at, sizeof(int));
            if (count++ == 0 && descriptor != NULL)
                first = number;
            else
                close(number);
        }
    }
    if (first >= 0 && (count > 1 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)))) {
        close(first);
        first = -1;
    }
    if (descriptor != NULL)
        *descriptor = first;
    if (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))
        return tlstunnel__fail(t, "malformed", "the pool says too much");
    text[length] = 0;
    return length;
}

/*
 * Split a message: its lines get NULs as their ends.
 *
 * body: where to put what is behind an empty line; may be NULL.
 * returns the number of bytes before that.
 */
static inline size_t tlstunnel__split(char *text, size_t length, char **body)
{
    char *empty = strstr(text, "\n\n");
    size_t size = empty == NULL ? length : (size_t)(empty - text) + 1;
    size_t each;

    if (body != NULL)
        *body = empty == NULL ? text + length : empty + 2;
    for (each = 0; each < size; each++)
        if (text[each] == '\n')
            text[each] = 0;
    return size;
}

/* Take note of a message; returns 1 if that was all it is for, else 0, or -1 for an error. */
static inline int tlstunnel__note(struct tlstunnel *t, const char *text, size_t size)
{
    const char *reason = tlstunnel__find(text, size, "reason"), *ending;
    int isEnd;

    if (!t->verified && strcmp(text, "ok") == 0) {
        if (size > sizeof t->answer - 1)
            return tlstunnel__fail(t, "malformed", "the pool says too much");
        memcpy(t->answer, text, size);
        t->answer[size] = 0;
        t->answer_size = size;
        return t->verified = 1;
    }
    if (t->verified && t->owed > 0 && (strcmp(text, "ok") == 0 || strcmp(text, "error") == 0)) {
        t->owed--;
        if (*text == 'o')
            return 0;
    } else if (t->ending[0] == 0) {
        /* The first end counts, and only of what was verified it can be a good one. */
        isEnd = t->verified && strcmp(text, "end") == 0;
        ending = *reason ? reason : size > 0 ? "malformed" : "gone";
        snprintf(t->ending, sizeof t->ending, "%s", strcmp(ending, "closed") || isEnd ? ending : "unverified");
        if (isEnd)
            return 1;
    }
    if (size == 0)
        return tlstunnel__fail(t, "gone", "the pool went away");
    return tlstunnel__fail(t, *reason ? reason : "malformed", tlstunnel__find(text, size, "detail"));
}

/* Ask, and leave the answer in TEXT; returns the number of bytes before its body, or -1. */
static inline ssize_t tlstunnel__ask(struct tlstunnel *t, char *text, char **body)
{
    long long deadline = tlstunnel__deadline(TLSTUNNEL_PATIENCE);
    ssize_t length, size;
    int noted, owed;

    if (!t->verified)
        return tlstunnel__fail(t, "unverified", "nobody has proved anything yet");
    tlstunnel__send(t, text, -1);
    t->owed++;
    do {
        length = tlstunnel__receive(t, deadline, text, NULL);
        if (length < 0)
            return -1;
        size = (ssize_t)tlstunnel__split(text, (size_t)length, body);
        owed = t->owed;
        noted = tlstunnel__note(t, text, (size_t)size);
        /* An answer may be to what was asked before, and not waited for. */
    } while (noted > 0 || (t->owed > 0 && t->owed < owed));
    return noted < 0 ? -1 : size;
}

/* Close the connection to the pool, which ends nothing else; close the plaintext socket, too. */
static inline void tlstunnel_close(struct tlstunnel *t)
{
    if (t->control >= 0)
        close(t->control);
    t->control = -1;
}

/* For tlstunnel_start(). */
static inline int tlstunnel__start(struct tlstunnel *t, int descriptor, long long deadline, char *text)
{
    ssize_t length;
    size_t size;
    int plain = -1, flags = fcntl(descriptor, F_GETFL), failed = tlstunnel__connect(t, deadline);

    if (!failed)
        tlstunnel__send(t, text, descriptor);
    /* Two readers of one connection would be the end of it. */
    close(descriptor);
    if (failed)
        return -1;
    length = tlstunnel__receive(t, deadline, text, &plain);
    if (length < 0)
        return -1;
    size = tlstunnel__split(text, (size_t)length, NULL);
    if (strcmp(text, "plain") != 0 && tlstunnel__note(t, text, size) < 0) {
        if (plain >= 0)
            close(plain);
        return -1;
    }
    if (plain < 0)
        return tlstunnel__fail(t, "malformed", "the pool has not sent one socket");
    if (flags >= 0 && (flags & O_NONBLOCK))
        fcntl(plain, F_SETFL, fcntl(plain, F_GETFL) | O_NONBLOCK);
    return plain;
}

/*
 * Hand a connection over.
 *
 * descriptor: the connection, which is closed here, whatever comes of it.
 * timeout:    milliseconds that all of this may take; -1 for what the pool allows.
 * ...:        keys and values, then NULL: "role" (client or server), "remote", "local", "client",
 *             "starttls", "alpn", "minimum", "plain". A value that is NULL is left out.
 * returns the plaintext socket; or -1, then reason and detail say why, and there is nothing to close.
 */
TLSTUNNEL_SENTINEL
static inline int tlstunnel_start(struct tlstunnel *t, int descriptor, int timeout, ...)
{
    long long deadline = tlstunnel__deadline(timeout);
    char *text = malloc(TLSTUNNEL_MESSAGE + 1);
    char seconds[32];
    const char *key, *value;
    va_list fields;
    int plain, failed = 0;

    memset(t, 0, sizeof *t);
    t->control = -1;
    if (text == NULL) {
        close(descriptor);
        return tlstunnel__fail(t, "internal", strerror(ENOMEM));
    }
    strcpy(text, "tls\n");
    if (timeout >= 0) {
        snprintf(seconds, sizeof seconds, "%d", timeout < 1000 ? 1 : (timeout - 1) / 1000 + 1);
        failed = tlstunnel__add(t, text, "timeout", seconds);
    }
    va_start(fields, timeout);
    while ((key = va_arg(fields, const char *)) != NULL) {
        value = va_arg(fields, const char *);
        if (value != NULL && failed == 0)
            failed = tlstunnel__add(t, text, key, value);
    }
    va_end(fields);
    if (failed) {
        close(descriptor);
        plain = -1;
    } else {
        plain = tlstunnel__start(t, descriptor, deadline, text);
    }
    free(text);
    if (plain < 0)
        tlstunnel_close(t);
    return plain;
}

/*
 * What is proven: "remote" and "local" are identities, "name" is how the certificate writes the remote
 * one, and there are "version", "suite", "group", "alpn", and "sni", which a client only claims.
 *
 * returns "" for what is not known.
 */
static inline const char *tlstunnel_get(const struct tlstunnel *t, const char *key)
{
    return tlstunnel__find(t->answer, t->answer_size, key);
}

/*
 * The user ID of whoever listens for the pool; -1 if that is not known. Where others might, such as in /tmp,
 * nothing that is proven is worth more than this one: compare it before anything is said.
 */
static inline long tlstunnel_owner(const struct tlstunnel *t)
{
    struct ucred owner;
    socklen_t size = sizeof owner;

    if (getsockopt(t->control, SOL_SOCKET, SO_PEERCRED, &owner, &size) < 0)
        return -1;
    return (long)owner.uid;
}

/*
 * Wait until the peer is verified. It is already, but in protocols whose servers speak before TLS: with
 * "starttls", "mysql" or "nats" in the role of a server tlstunnel_start() returns at once.
 *
 * returns 0, or -1: it is not who it has to be, or there is no TLS.
 */
static inline int tlstunnel_verify(struct tlstunnel *t, int timeout)
{
    long long deadline = tlstunnel__deadline(timeout);
    char *text = malloc(TLSTUNNEL_MESSAGE + 1);
    ssize_t length;
    int noted = 1;

    if (text == NULL)
        return tlstunnel__fail(t, "internal", strerror(ENOMEM));
    while (!t->verified && noted >= 0) {
        length = tlstunnel__receive(t, deadline, text, NULL);
        noted = length < 0 ? -1 : tlstunnel__note(t, text, tlstunnel__split(text, (size_t)length, NULL));
    }
    free(text);
    return noted < 0 ? -1 : 0;
}

/*
 * Wait until the peer's direction has ended, after everything was read: the pool cannot see the end before.
 *
 * returns "closed" if the peer said that this is all; else why it is not, such as "truncated"; "timeout".
 */
static inline const char *tlstunnel_ended(struct tlstunnel *t, int timeout)
{
    long long deadline = tlstunnel__deadline(timeout);
    char *text = malloc(TLSTUNNEL_MESSAGE + 1);
    ssize_t length;

    if (text == NULL) {
        tlstunnel__fail(t, "internal", strerror(ENOMEM));
        return t->reason;
    }
    while (t->ending[0] == 0) {
        length = tlstunnel__receive(t, deadline, text, NULL);
        if (length < 0)
            break;
        tlstunnel__note(t, text, tlstunnel__split(text, (size_t)length, NULL));
    }
    free(text);
    return t->ending[0] ? t->ending : t->reason;
}

/*
 * Keying material of this connection (RFC 5705), which both sides get the same of.
 *
 * context: of SIZE bytes; NULL for none.
 * returns 0, or -1.
 */
static inline int tlstunnel_export(struct tlstunnel *t, const char *label, const void *context, size_t size,
                                   unsigned char *material, size_t length)
{
    char *text = malloc(TLSTUNNEL_MESSAGE + 1);
    char number[32];
    char *hex;
    const char *found, *digits = "0123456789abcdef";
    size_t each;
    ssize_t answer;
    int failed;

    if (text == NULL)
        return tlstunnel__fail(t, "internal", strerror(ENOMEM));
    strcpy(text, "export\n");
    snprintf(number, sizeof number, "%lu", (unsigned long)length);
    failed = tlstunnel__add(t, text, "label", label) || tlstunnel__add(t, text, "length", number);
    if (context != NULL && !failed) {
        hex = malloc(2 * size + 1);
        if (hex == NULL) {
            failed = tlstunnel__fail(t, "internal", strerror(ENOMEM));
        } else {
            hex[0] = 0;
            for (each = 0; each < size; each++)
                snprintf(hex + 2 * each, 3, "%02x", ((const unsigned char *)context)[each]);
            failed = tlstunnel__add(t, text, "context", hex);
            free(hex);
        }
    }
    answer = failed ? -1 : tlstunnel__ask(t, text, NULL);
    if (answer >= 0) {
        found = tlstunnel__find(text, (size_t)answer, "material");
        if (strlen(found) != 2 * length || strspn(found, digits) != 2 * length) {
            answer = tlstunnel__fail(t, "malformed", "the pool has sent something else");
        } else {
            for (each = 0; each < length; each++)
                material[each] = (unsigned char)((strchr(digits, found[2 * each]) - digits) * 16 +
                                                 (strchr(digits, found[2 * each + 1]) - digits));
        }
    }
    free(text);
    return answer < 0 ? -1 : 0;
}

/*
 * The peer's certificate and those that came with it, the peer's first: PEM, with a NUL behind it, in
 * memory that the program has to free().
 *
 * returns NULL after an error.
 */
static inline char *tlstunnel_certificate(struct tlstunnel *t)
{
    char *text = malloc(TLSTUNNEL_MESSAGE + 1);
    char *body;

    if (text == NULL) {
        tlstunnel__fail(t, "internal", strerror(ENOMEM));
        return NULL;
    }
    strcpy(text, "certificate\n");
    if (tlstunnel__ask(t, text, &body) < 0) {
        free(text);
        return NULL;
    }
    memmove(text, body, strlen(body) + 1);
    return text;
}

#endif
