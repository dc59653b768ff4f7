#!/bin/sh
# What a mail server can do once there is TLS: smtp.sh HOST PORT [NAME]
#
# The pool asks for STARTTLS, and insists on NAME. The conversation is at descriptors 6 and 7, as UCSPI has it.
set -eu

exec python3 -m tlstunnel.client connect "$1" "$2" --remote "${3-$1}" --starttls smtp --timeout 15 -- sh -euc '
    # Print a reply of the server, which may have several lines; the last one has a space behind its number.
    reply() {
        while read -r line <&6; do
            printf "%s\n" "$line" | tr -d "\r"
            case $line in "$1 "*) return 0 ;; "$1-"*) ;; *) return 1 ;; esac
        done
        return 1
    }
    printf "this is %s, %s\n" "$TLS_IDENTITY" "$TLS_VERSION" >&2
    reply 220
    printf "EHLO localhost\r\n" >&7
    reply 250
    printf "QUIT\r\n" >&7
    reply 221
'
