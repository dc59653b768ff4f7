"""
Clients of MySQL and MariaDB, each of which asks for the one row that the servers have: mariadb and
mysql, PyMySQL, mysql2 of Node.js, and go-sql-driver.
"""

from __future__ import annotations

from pathlib import Path

import pymysql

from tests.interop.harness import Outcome, find, run
from tests.interop.servers import mysql
from tests.interop.servers.mariadb import DATABASE, PASSWORD

QUERY = "SELECT title, repeat('x', 300000) FROM book"

#: What npm has installed.
MODULES = "/opt/tlstunnel-interop/node/node_modules"

NODE = """\
const [port, user, password, database] = process.argv.slice(1);
require("mysql2/promise")
    .createConnection({host: "127.0.0.1", port: +port, user, password, database})
    .then(async connection => {
        const [rows] = await connection.query("SELECT title FROM book");
        console.log(rows[0].title);
        await connection.end();
    })
    .catch(error => {
        console.error(error.message);
        process.exit(1);
    });
"""

#: Where Debian has the source of go-sql-driver, and of which files it is made for this system.
GO_DRIVER = Path("/usr/share/gocode/src/github.com/go-sql-driver/mysql")
GO_OTHERS = ("_test", "_dummy", "_legacy")

GO = """\
package main

import (
    "database/sql"
    "fmt"
    "os"

    _ "github.com/go-sql-driver/mysql"
)

func main() {
    var title string
    db, err := sql.Open("mysql", os.Args[1])
    if err == nil {
        err = db.QueryRow("SELECT title FROM book").Scan(&title)
    }
    if err != nil {
        fmt.Fprintln(os.Stderr, err)
        os.Exit(1)
    }
    fmt.Println(title)
}
"""


def client(user: str, address: int | Path, *options: str) -> Outcome:
    """
    Ask for a row, and for more than fits into buffers, by C{mariadb}.

    @param address: a port on loopback, or a UNIX socket.
    """
    where = [f"--socket={address}"]
    if isinstance(address, int):
        where = ["--protocol=TCP", "--host=127.0.0.1", f"--port={address}"]
    login = (f"--user={user}", f"--password={PASSWORD}")
    return run(["mariadb", "--no-defaults", *where, *login, *options, "-N", "-e", QUERY, DATABASE])


def own(*options: str, user: str) -> Outcome:
    """
    The same by MySQL's own client.
    """
    login = (f"--user={user}", f"--password={PASSWORD}")
    program = str(mysql.ROOT / "usr/bin/mysql")
    return run([program, "--no-defaults", *options, *login, "-N", "-e", QUERY, DATABASE])


def connected(
    user: str, address: int | Path, anchors: Path | None = None
) -> pymysql.Connection[pymysql.cursors.Cursor]:
    """
    A connection by PyMySQL.

    @param anchors: insist on a good certificate for 127.0.0.1; None: no TLS.
    """
    return pymysql.connect(
        user=user,
        password=PASSWORD,
        database=DATABASE,
        host="127.0.0.1",
        port=address if isinstance(address, int) else 0,
        unix_socket=None if isinstance(address, int) else str(address),
        connect_timeout=20,
        ssl_ca=None if anchors is None else str(anchors),
        ssl_verify_identity=anchors is not None,
        ssl_disabled=anchors is None,
    )


def titleBy(connection: pymysql.Connection[pymysql.cursors.Cursor]) -> str:
    """
    The row, over a connection.
    """
    cursor = connection.cursor()
    cursor.execute("SELECT title FROM book")
    row = cursor.fetchone()
    assert row is not None
    title: str = row[0]
    return title


def selected(user: str, address: int | Path, anchors: Path | None = None) -> str:
    """
    The row, by PyMySQL.
    """
    with connected(user, address, anchors) as connection:
        return titleBy(connection)


def byNode(user: str, port: int) -> Outcome:
    """
    The row, by mysql2.
    """
    find(f"{MODULES}/mysql2/package.json", "nodejs, and npm")
    node = find("node", "nodejs")
    words = (str(port), user, PASSWORD, DATABASE)
    return run([node, "-e", NODE, *words], environment={"NODE_PATH": MODULES})


def buildGo(directory: Path) -> Path:
    """
    A program that uses go-sql-driver, from Debian's source of that.
    """
    find("gccgo", "gccgo")
    find(f"{GO_DRIVER}/driver.go", "golang-github-go-sql-driver-mysql-dev")
    files = sorted(
        str(each) for each in GO_DRIVER.glob("*.go") if not each.stem.endswith(GO_OTHERS)
    )
    driver, path = directory / "github.com/go-sql-driver/mysql.o", directory / "select.go"
    driver.parent.mkdir(parents=True)
    path.write_text(GO)
    package = "-fgo-pkgpath=github.com/go-sql-driver/mysql"
    run(["gccgo", "-c", package, "-o", str(driver), *files], seconds=120).expect()
    program = directory / "select"
    run(
        ["gccgo", "-I", str(directory), "-o", str(program), str(path), str(driver)], seconds=120
    ).expect()
    return program


def byGo(program: Path, user: str, port: int) -> Outcome:
    """
    The row, by go-sql-driver.
    """
    return run([str(program), f"{user}:{PASSWORD}@tcp(127.0.0.1:{port})/{DATABASE}"])
