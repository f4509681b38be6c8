/* A program at a node of Corosync: it joins a group, sends there or only receives, and checks every message.
 *
 *   client receive|flood|ping GROUP MEMBERS SIZE WARM-UP SPAN      (the last two in milliseconds)
 *
 * It says "ready" when the group has all its members, starts when it reads a line, and says at the end what it saw:
 * "received N measured N", and for ping "p50 N p99 N" in nanoseconds. What goes wrong is said on standard error. */

#include <corosync/cpg.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
	/* How long daemons may take to find together, in seconds. */
	PATIENCE = 30,
	/* How long anything else may take beside the warm-up and the span, in seconds. */
	LIMIT = 60,
	/* Between two attempts, in microseconds: to reach the daemon, and to send when its queue is full. */
	RETRY = 20000,
	BREATH = 50,
};

/* The number of the message behind the last one; it holds how many there were. */
static const uint64_t END = UINT64_MAX;
static const uint64_t SECOND = 1000000000, MILLISECOND = 1000000;

static cpg_handle_t handle;
static size_t members, size;
static uint64_t from, to; /* what is measured */
static uint64_t received, measured;
static int over;

static uint64_t now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void fail(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(1);
}

static void check(cs_error_t result, const char *what)
{
	if (result != CS_OK)
		fail("%s: error %d of Corosync", what, (int)result);
}

static uint8_t tail(uint64_t number)
{
	return (uint8_t)(size + number);
}

static void deliver(cpg_handle_t h, const struct cpg_name *group, uint32_t node, uint32_t pid, void *payload,
		    size_t length)
{
	uint64_t number, count, time;

	(void)h, (void)group, (void)node, (void)pid;
	if (length < 2 * sizeof number)
		fail("a message of %zu bytes arrived", length);
	memcpy(&number, payload, sizeof number);
	if (number == END) {
		memcpy(&count, (char *)payload + sizeof number, sizeof count);
		if (count != received)
			fail("%" PRIu64 " messages arrived, %" PRIu64 " were sent", received, count);
		over = 1;
		return;
	}
	if (length != size || ((uint8_t *)payload)[length - 1] != tail(number))
		fail("message %" PRIu64 " has another content than was sent", number);
	if (number != received)
		fail("message %" PRIu64 " arrived where %" PRIu64 " was due", number, received);
	received++;
	time = now();
	if (time >= from && time < to)
		measured++;
}

static void change(cpg_handle_t h, const struct cpg_name *group, const struct cpg_address *list, size_t count,
		   const struct cpg_address *left, size_t left_count, const struct cpg_address *joined,
		   size_t joined_count)
{
	(void)h, (void)group, (void)list, (void)left, (void)left_count, (void)joined, (void)joined_count;
	members = count;
}

static void join(const char *name)
{
	static cpg_callbacks_t callbacks = {.cpg_deliver_fn = deliver, .cpg_confchg_fn = change};
	struct cpg_name group = {0};
	uint64_t deadline = now() + PATIENCE * SECOND;
	cs_error_t result;

	group.length = strlen(name);
	if (group.length >= sizeof group.value)
		fail("the name of the group is too long");
	memcpy(group.value, name, group.length);
	/* The daemon may be starting. */
	while ((result = cpg_initialize(&handle, &callbacks)) != CS_OK && now() < deadline)
		usleep(RETRY);
	check(result, "cannot reach the daemon");
	while ((result = cpg_join(handle, &group)) == CS_ERR_TRY_AGAIN && now() < deadline)
		usleep(RETRY);
	check(result, "cannot join");
}

static void multicast(void *payload, size_t length)
{
	struct iovec part = {payload, length};
	cs_error_t result;

	while ((result = cpg_mcast_joined(handle, CPG_TYPE_AGREED, &part, 1)) == CS_ERR_TRY_AGAIN)
		usleep(BREATH);
	check(result, "cannot send");
}

static void send_number(char *payload, uint64_t number)
{
	memcpy(payload, &number, sizeof number);
	payload[size - 1] = (char)tail(number);
	multicast(payload, size);
}

static void send_end(uint64_t count)
{
	uint64_t words[2] = {END, count};

	multicast(words, sizeof words);
}

static void dispatch_one(void)
{
	check(cpg_dispatch(handle, CS_DISPATCH_ONE), "cannot receive");
}

static void *dispatch_all(void *unused)
{
	while (!over)
		dispatch_one();
	return unused;
}

static void flood(char *payload)
{
	pthread_t dispatcher;
	uint64_t sent = 0;

	if (pthread_create(&dispatcher, NULL, dispatch_all, NULL) != 0)
		fail("cannot start a thread");
	while (now() < to)
		send_number(payload, sent++);
	send_end(sent);
	pthread_join(dispatcher, NULL);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void ping(char *payload)
{
	enum { SAMPLES_MAX = 1 << 22 };
	uint64_t *samples = malloc(SAMPLES_MAX * sizeof *samples);
	uint64_t sent = 0, time;
	size_t count = 0;

	if (!samples)
		fail("no memory");
	while ((time = now()) < to) {
		send_number(payload, sent++);
		while (received < sent)
			dispatch_one();
		if (time >= from && count < SAMPLES_MAX)
			samples[count++] = now() - time;
	}
	send_end(sent);
	dispatch_all(NULL);
	if (count == 0)
		fail("no message came back while it was measured");
	qsort(samples, count, sizeof *samples, compare);
	printf("p50 %" PRIu64 " p99 %" PRIu64 " ", samples[(count - 1) / 2], samples[(count * 99 + 99) / 100 - 1]);
	free(samples);
}

int main(int argc, char **argv)
{
	char *payload;
	size_t expected;
	uint64_t warm_up, span, begin;

	if (argc != 7)
		fail("wrong arguments");
	expected = strtoul(argv[3], NULL, 10);
	size = strtoul(argv[4], NULL, 10);
	warm_up = strtoull(argv[5], NULL, 10);
	span = strtoull(argv[6], NULL, 10);
	/* Whatever happens, it ends. */
	alarm((unsigned)(PATIENCE + LIMIT + (warm_up + span) / 1000));
	payload = calloc(1, size);
	if (!payload || size < 2 * sizeof(uint64_t))
		fail("no memory for messages, or they are too small");
	join(argv[2]);
	while (members < expected)
		dispatch_one();
	puts("ready");
	fflush(stdout);
	if (getchar() != '\n')
		fail("told to go away");
	begin = now();
	from = begin + warm_up * MILLISECOND;
	to = from + span * MILLISECOND;
	if (strcmp(argv[1], "flood") == 0)
		flood(payload);
	else if (strcmp(argv[1], "ping") == 0)
		ping(payload);
	else
		dispatch_all(NULL);
	printf("received %" PRIu64 " measured %" PRIu64 "\n", received, measured);
	free(payload);
	return 0;
}
