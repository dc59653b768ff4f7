<?php
/*
 * Fetch a page by https: the pool does the TLS, and this program finds out whether all of it has come.
 * PHP needs its extension "sockets".
 *
 *     php https.php www.example.org 443 /index.html
 *
 * It says on standard error who the server has proved to be.
 */

declare(strict_types=1);

/** What the pool says: its verb, its fields, and the socket that came along. */
function receive(Socket $control): array
{
    $message = ["name" => [], "buffer_size" => 65536, "controllen" => socket_cmsg_space(SOL_SOCKET, SCM_RIGHTS, 1)];
    if (!socket_recvmsg($control, $message, MSG_CMSG_CLOEXEC)) {
        return ["", ["reason" => "gone", "detail" => "the pool went away"], null];
    }
    $lines = explode("\n", $message["iov"][0]);
    $fields = [];
    foreach (array_slice($lines, 1) as $line) {
        [$key, $value] = [...explode("=", $line, 2), ""];
        $fields[$key] = $value;
    }
    return [$lines[0], $fields, $message["control"][0]["data"][0] ?? null];
}

/**
 * Hand a connection over to the pool, of which nothing may have been read.
 *
 * @param resource $connection a stream, which is closed here
 * @return array the plaintext as a stream, what is proven, and what howEnded() needs
 */
function startTLS($connection, array $asked): array
{
    $request = "tls\n";
    foreach ($asked as $key => $value) {
        if (preg_match('/[\x00-\x1f\x7f]/', $value)) {
            throw new InvalidArgumentException("$key has a control character");
        }
        $request .= "$key=$value\n";
    }
    $path = getenv("TLSTUNNEL_POOL") ?: "/run/tlstunnel/pool.sock";
    $control = socket_create(AF_UNIX, SOCK_SEQPACKET, 0);
    if (!@socket_connect($control, $path)) {
        throw new RuntimeException("no pool at $path: " . socket_strerror(socket_last_error($control)));
    }
    $rights = ["level" => SOL_SOCKET, "type" => SCM_RIGHTS, "data" => [$connection]];
    socket_sendmsg($control, ["iov" => [$request], "control" => [$rights]], 0);
    // Two readers of one connection would be the end of it.
    fclose($connection);
    [$verb, $answer, $plain] = receive($control);
    if ($verb !== "ok" || $plain === null) {
        throw new RuntimeException(($answer["reason"] ?? "malformed") . ": " . ($answer["detail"] ?? ""));
    }
    return [socket_export_stream($plain), $answer, $control];
}

/** "closed", or why this is not all; to be asked at the end of what there is to read. */
function howEnded(Socket $control): string
{
    [$verb, $fields] = receive($control);
    return $verb === "end" ? $fields["reason"] ?? "malformed" : "gone";
}

if ($argc !== 4 && $argc !== 5) {
    fwrite(STDERR, "usage: php https.php HOST PORT PATH [NAME]\n");
    exit(2);
}
[, $host, $port, $path] = $argv;
$name = $argv[4] ?? $host;
try {
    $connection = @stream_socket_client("tcp://$host:$port", $code, $error, 15)
        ?: throw new RuntimeException("$host:$port: $error");
    $asked = ["role" => "client", "remote" => $name, "alpn" => "http/1.1"];
    [$plain, $proven, $control] = startTLS($connection, $asked);
    fwrite(STDERR, "this is {$proven["remote"]}, {$proven["version"]}\n");
    fwrite($plain, "GET $path HTTP/1.0\r\nHost: $name\r\n\r\n");
    // It returns early where nothing comes for default_socket_timeout seconds.
    $page = stream_get_contents($plain);
    if ($page === false || !feof($plain)) {
        throw new RuntimeException("the rest of it does not come");
    }
    // In HTTP/1.0 the end of the page is that of the connection: is it the end, or a cut?
    if (($reason = howEnded($control)) !== "closed") {
        throw new RuntimeException("this is not all of it: $reason");
    }
    echo $page;
} catch (RuntimeException $error) {
    fwrite(STDERR, "https.php: {$error->getMessage()}\n");
    exit(1);
}
