"""`answers.py DATABASE_URL BROKER_URL`: exit with 0 if PostgreSQL and RabbitMQ let us in, else say which."""

import sys

import kombu
import kombu.exceptions
import psycopg


def main(database_url: str, broker_url: str) -> int:
    try:
        psycopg.connect(database_url, connect_timeout=3).close()
    except psycopg.Error:
        print("\nPostgreSQL does not answer.")
        return 1
    with kombu.Connection(broker_url, connect_timeout=3) as broker:
        try:
            broker.ensure_connection(max_retries=1, timeout=3)
        except kombu.exceptions.OperationalError:
            print("\nRabbitMQ does not answer.")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
