/* A libnvidia-ml.so.1 without hardware: what the node agent asks of NVML, answered from a file.
 *
 * The file that MOCK_NVML names is read anew whenever it has changed, so faults are injected while
 * a program runs. Lines (words by spaces, a space in a value is written as ~):
 *
 *   driver 570.124.06                 version; none: the default
 *   init 18                           what nvmlInit answers, and from then on every call
 *   gpu key=value ...                 a GPU, in the order of indices
 *   mig gpu=0 key=value ...           a MIG device of a GPU
 *   xid seq=7 gpu=0 code=79 [gi= ci=] an error; it is reported once to each event set made before
 *
 * A GPU that was found lost stays lost until NVML is initialised anew, as with the real one. The
 * structs are those of nvml.h of CUDA 12; pynvml resolves functions by name when they are called.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { OK = 0, UNINITIALIZED = 1, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, TOO_SMALL = 7,
       TIMEOUT = 10, LOST = 15 };
enum { MOST_GPUS = 32, MOST_PARTS = 7, MOST_PIDS = 64, MOST_XIDS = 256, TEXT = 96 };
#define XID_EVENT 8ULL
#define WHOLE 0xFFFFFFFFU
#define RECOVERY_ACTION 230

typedef struct {
    char uuid[TEXT], name[TEXT], pci[32];
    unsigned long long memory, used;
    int index, part, minor, util, temp, lost, error, delay_ms, recovery, remap_failed, mig;
    unsigned gi, ci, pids[MOST_PIDS];
    int pid_count;
} Device;

typedef struct { unsigned long long seq, code; int gpu; unsigned gi, ci; } Xid;
typedef struct { unsigned long long seen; unsigned registered; } EventSet;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static Device gpus[MOST_GPUS], parts[MOST_GPUS][MOST_PARTS];
/* What is given out: only their places count. */
static Device handles[MOST_GPUS], part_handles[MOST_GPUS][MOST_PARTS];
static Xid xids[MOST_XIDS];
static int gpu_count, part_count[MOST_GPUS], xid_count, sessions, init_answer, seen_lost[MOST_GPUS];
static char driver[TEXT];
static struct timespec changed;
static ino_t changed_inode;

static void set_text(char *to, size_t room, const char *from) {
    size_t i = 0;
    for (; from[i] && i + 1 < room; i++) to[i] = from[i] == '~' ? ' ' : from[i];
    to[i] = 0;
}

static void set_field(Device *d, const char *key, const char *value) {
    if (!strcmp(key, "uuid")) set_text(d->uuid, sizeof d->uuid, value);
    else if (!strcmp(key, "name")) set_text(d->name, sizeof d->name, value);
    else if (!strcmp(key, "pci")) set_text(d->pci, sizeof d->pci, value);
    else if (!strcmp(key, "memory")) d->memory = strtoull(value, NULL, 10);
    else if (!strcmp(key, "used")) d->used = strtoull(value, NULL, 10);
    else if (!strcmp(key, "minor")) d->minor = atoi(value);
    else if (!strcmp(key, "util")) d->util = atoi(value);
    else if (!strcmp(key, "temp")) d->temp = atoi(value);
    else if (!strcmp(key, "lost")) d->lost = atoi(value);
    else if (!strcmp(key, "error")) d->error = atoi(value);
    else if (!strcmp(key, "delay_ms")) d->delay_ms = atoi(value);
    else if (!strcmp(key, "recovery")) d->recovery = atoi(value);
    else if (!strcmp(key, "remap_failed")) d->remap_failed = atoi(value);
    else if (!strcmp(key, "mig")) d->mig = atoi(value);
    else if (!strcmp(key, "gi")) d->gi = (unsigned)strtoul(value, NULL, 10);
    else if (!strcmp(key, "ci")) d->ci = (unsigned)strtoul(value, NULL, 10);
    else if (!strcmp(key, "pids")) {
        for (const char *at = value; *at && d->pid_count < MOST_PIDS;) {
            char *end;
            d->pids[d->pid_count++] = (unsigned)strtoul(at, &end, 10);
            at = *end == ',' ? end + 1 : end;
        }
    } else if (strcmp(key, "gpu")) {
        fprintf(stderr, "mock NVML: no such key: %s\n", key);
        abort();
    }
}

static void read_line(char *line) {
    char *rest, *kind = strtok_r(line, " \n", &rest), *word;
    if (!kind) return;
    if (!strcmp(kind, "driver") || !strcmp(kind, "init")) {
        word = strtok_r(NULL, " \n", &rest);
        if (word && kind[0] == 'd') set_text(driver, sizeof driver, word);
        if (word && kind[0] == 'i') init_answer = atoi(word);
        return;
    }
    Device made = {.part = -1, .util = -1, .temp = -1, .minor = -1};
    Xid xid = {.gi = WHOLE, .ci = WHOLE};
    int gpu = 0;
    while ((word = strtok_r(NULL, " \n", &rest))) {
        char *value = strchr(word, '=');
        if (!value) abort();
        *value++ = 0;
        if (!strcmp(word, "gpu")) gpu = atoi(value);
        if (strcmp(kind, "xid")) set_field(&made, word, value);
        else if (!strcmp(word, "seq")) xid.seq = strtoull(value, NULL, 10);
        else if (!strcmp(word, "code")) xid.code = strtoull(value, NULL, 10);
        else if (!strcmp(word, "gi")) xid.gi = (unsigned)strtoul(value, NULL, 10);
        else if (!strcmp(word, "ci")) xid.ci = (unsigned)strtoul(value, NULL, 10);
    }
    if (!strcmp(kind, "gpu") && gpu_count < MOST_GPUS) {
        made.index = gpu_count;
        gpus[gpu_count++] = made;
    } else if (!strcmp(kind, "mig") && gpu < MOST_GPUS && part_count[gpu] < MOST_PARTS) {
        made.index = gpu;
        made.part = part_count[gpu];
        parts[gpu][part_count[gpu]++] = made;
    } else if (!strcmp(kind, "xid") && xid_count < MOST_XIDS) {
        xid.gpu = gpu;
        xids[xid_count++] = xid;
    }
}

/* With the lock held. */
static void refresh(void) {
    const char *path = getenv("MOCK_NVML");
    struct stat now;
    if (!path || stat(path, &now)) { fprintf(stderr, "mock NVML: MOCK_NVML: no file\n"); abort(); }
    if (now.st_ino == changed_inode && now.st_mtim.tv_sec == changed.tv_sec
        && now.st_mtim.tv_nsec == changed.tv_nsec)
        return;
    changed = now.st_mtim;
    changed_inode = now.st_ino;
    gpu_count = xid_count = init_answer = 0;
    memset(part_count, 0, sizeof part_count);
    strcpy(driver, "570.124.06");
    FILE *file = fopen(path, "r");
    char line[4096];
    while (file && fgets(line, sizeof line, file)) read_line(line);
    if (file) fclose(file);
}

static int whole_answer(void) {
    refresh();
    return !sessions ? UNINITIALIZED : init_answer;
}

static void pause_ms(int ms) {
    struct timespec time = {ms / 1000, (ms % 1000) * 1000000L};
    nanosleep(&time, NULL);
}

/* A copy of the device as it is now; what a call about it answers. */
static int look(const Device *handle, Device *copy) {
    pthread_mutex_lock(&lock);
    int answer = whole_answer();
    if (!answer) {
        int gpu = handle->index, part = handle->part;
        if (gpu >= gpu_count || (part >= 0 && part >= part_count[gpu])) answer = NOT_FOUND;
        else {
            *copy = part < 0 ? gpus[gpu] : parts[gpu][part];
            if (gpus[gpu].lost) seen_lost[gpu] = 1;
            answer = seen_lost[gpu] ? LOST : gpus[gpu].error;
        }
    }
    int delay = answer == NOT_FOUND || answer == UNINITIALIZED ? 0 : gpus[handle->index].delay_ms;
    pthread_mutex_unlock(&lock);
    if (delay) pause_ms(delay);
    return answer;
}

#define ASK(handle) Device d; int answer = look(handle, &d); if (answer) return answer

int nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    pthread_mutex_lock(&lock);
    refresh();
    int answer = init_answer;
    if (!answer && !sessions++) memset(seen_lost, 0, sizeof seen_lost);
    pthread_mutex_unlock(&lock);
    return answer;
}

int nvmlShutdown(void) {
    pthread_mutex_lock(&lock);
    int answer = sessions ? OK : UNINITIALIZED;
    if (sessions) sessions--;
    pthread_mutex_unlock(&lock);
    return answer;
}

const char *nvmlErrorString(int code) { (void)code; return "an error of the mock"; }

int nvmlSystemGetDriverVersion(char *to, unsigned room) {
    pthread_mutex_lock(&lock);
    int answer = whole_answer();
    set_text(to, room, driver);
    pthread_mutex_unlock(&lock);
    return answer;
}

int nvmlDeviceGetCount_v2(unsigned *count) {
    pthread_mutex_lock(&lock);
    int answer = whole_answer();
    *count = (unsigned)gpu_count;
    pthread_mutex_unlock(&lock);
    return answer;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, const Device **handle) {
    if (index >= MOST_GPUS) return INVALID;
    handles[index].index = (int)index;
    handles[index].part = -1;
    *handle = &handles[index];
    Device d;
    int answer = look(*handle, &d);
    return answer == NOT_FOUND ? INVALID : answer;
}

int nvmlDeviceGetMigDeviceHandleByIndex(const Device *gpu, unsigned index, const Device **handle) {
    ASK(gpu);
    if (index >= (unsigned)part_count[d.index]) return NOT_FOUND;
    Device *made = &part_handles[d.index][index];
    made->index = d.index;
    made->part = (int)index;
    *handle = made;
    return OK;
}

int nvmlDeviceGetMaxMigDeviceCount(const Device *h, unsigned *count) {
    ASK(h);
    *count = d.mig ? MOST_PARTS : 0;
    return OK;
}

int nvmlDeviceGetMigMode(const Device *h, unsigned *current, unsigned *pending) {
    ASK(h);
    *current = *pending = (unsigned)d.mig;
    return d.part < 0 ? OK : INVALID;
}

int nvmlDeviceGetUUID(const Device *h, char *to, unsigned room) {
    ASK(h);
    snprintf(to, room, "%s", d.uuid);
    return OK;
}

int nvmlDeviceGetName(const Device *h, char *to, unsigned room) {
    ASK(h);
    snprintf(to, room, "%s", d.name);
    return OK;
}

int nvmlDeviceGetMinorNumber(const Device *h, unsigned *minor) {
    ASK(h);
    *minor = (unsigned)d.minor;
    return d.minor < 0 ? NOT_SUPPORTED : OK;
}

struct pci { char legacy[16]; unsigned domain, bus, device, id, subsystem; char bus_id[32]; };
int nvmlDeviceGetPciInfo_v3(const Device *h, struct pci *pci) {
    ASK(h);
    memset(pci, 0, sizeof *pci);
    snprintf(pci->bus_id, sizeof pci->bus_id, "%s", d.pci);
    return OK;
}

struct memory { unsigned long long total, free, used; };
int nvmlDeviceGetMemoryInfo(const Device *h, struct memory *memory) {
    ASK(h);
    memory->total = d.memory;
    memory->used = d.used;
    memory->free = d.memory - d.used;
    return OK;
}

struct rates { unsigned gpu, memory; };
int nvmlDeviceGetUtilizationRates(const Device *h, struct rates *rates) {
    ASK(h);
    if (d.util < 0 || d.part >= 0) return NOT_SUPPORTED;
    rates->gpu = rates->memory = (unsigned)d.util;
    return OK;
}

int nvmlDeviceGetTemperature(const Device *h, int sensor, unsigned *celsius) {
    (void)sensor;
    ASK(h);
    *celsius = (unsigned)d.temp;
    return d.temp < 0 ? NOT_SUPPORTED : OK;
}

struct process { unsigned pid; unsigned long long memory; unsigned gi, ci; };
int nvmlDeviceGetComputeRunningProcesses_v3(const Device *h, unsigned *count, struct process *to) {
    ASK(h);
    unsigned room = *count, there = (unsigned)d.pid_count;
    *count = there;
    if (!there) return OK;
    if (room < there || !to) return TOO_SMALL;
    for (unsigned i = 0; i < there; i++)
        to[i] = (struct process){d.pids[i], 1ULL << 20, WHOLE, WHOLE};
    return OK;
}

int nvmlDeviceGetMPSComputeRunningProcesses_v3(const Device *h, unsigned *count, void *to) {
    (void)to;
    ASK(h);
    *count = 0;
    return OK;
}

int nvmlDeviceGetGpuInstanceId(const Device *h, unsigned *id) { ASK(h); *id = d.gi; return OK; }
int nvmlDeviceGetComputeInstanceId(const Device *h, unsigned *id) { ASK(h); *id = d.ci; return OK; }

struct field { uint32_t id, scope; int64_t time, latency; int type, answer; unsigned value, pad; };
int nvmlDeviceGetFieldValues(const Device *h, int count, struct field *fields) {
    ASK(h);
    for (int i = 0; i < count; i++) {
        fields[i].answer = fields[i].id == RECOVERY_ACTION && d.recovery >= 0 ? OK : NOT_SUPPORTED;
        fields[i].value = (unsigned)d.recovery;
    }
    return OK;
}

int nvmlDeviceGetRemappedRows(const Device *h, unsigned *corrected, unsigned *uncorrected,
                              unsigned *pending, unsigned *failed) {
    ASK(h);
    *corrected = *uncorrected = *pending = 0;
    *failed = (unsigned)d.remap_failed;
    return OK;
}

int nvmlDeviceGetSupportedEventTypes(const Device *h, unsigned long long *types) {
    ASK(h);
    *types = XID_EVENT | 1;
    return OK;
}

int nvmlEventSetCreate(EventSet **set) {
    pthread_mutex_lock(&lock);
    int answer = whole_answer();
    if (!answer) {
        *set = calloc(1, sizeof **set);
        for (int i = 0; i < xid_count; i++)
            if (xids[i].seq > (*set)->seen) (*set)->seen = xids[i].seq;
    }
    pthread_mutex_unlock(&lock);
    return answer;
}

int nvmlDeviceRegisterEvents(const Device *h, unsigned long long types, EventSet *set) {
    ASK(h);
    if (types != XID_EVENT) return INVALID;
    pthread_mutex_lock(&lock);
    set->registered |= 1U << d.index;
    pthread_mutex_unlock(&lock);
    return OK;
}

struct event { const Device *device; unsigned long long type, data; unsigned gi, ci; };
int nvmlEventSetWait_v2(EventSet *set, struct event *event, unsigned ms) {
    for (unsigned waited = 0;; waited += 20) {
        pthread_mutex_lock(&lock);
        int answer = whole_answer();
        Xid *next = NULL;
        for (int i = 0; !answer && i < xid_count; i++)
            if (xids[i].seq > set->seen && (set->registered >> xids[i].gpu & 1)
                && (!next || xids[i].seq < next->seq))
                next = &xids[i];
        if (next) {
            set->seen = next->seq;
            *event = (struct event){&handles[next->gpu], XID_EVENT, next->code, next->gi, next->ci};
        }
        pthread_mutex_unlock(&lock);
        if (answer || next) return answer;
        if (waited >= ms) return TIMEOUT;
        pause_ms(20);
    }
}

int nvmlEventSetFree(EventSet *set) { free(set); return OK; }
