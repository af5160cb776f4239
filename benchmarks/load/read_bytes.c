/* The yardstick of loading: reads the data of safetensors files into fresh memory with two threads and prints the sum
 * of all 64-bit words, added up while each piece is still in the cache.
 *
 *   cc -O3 -march=native -pthread read_bytes.c -o read_bytes && ./read_bytes model-*.safetensors
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { kThreads = 2, kPiece = 1 << 20 };

struct part {
  int file;
  char* to;
  uint64_t offset, bytes, sum;
};

static void* read_part(void* argument) {
  struct part* part = argument;
  uint64_t sum = 0;
  for (uint64_t done = 0; done < part->bytes;) {
    uint64_t want = part->bytes - done < kPiece ? part->bytes - done : kPiece;
    ssize_t got = pread(part->file, part->to + done, want, (off_t)(part->offset + done));
    if (got != (ssize_t)want) exit(1);
    const uint64_t* words = (const uint64_t*)(part->to + done);
    for (uint64_t i = 0; i < want / 8; ++i) sum += words[i];
    done += want;
  }
  part->sum = sum;
  return NULL;
}

int main(int count, char** names) {
  uint64_t sum = 0;
  for (int i = 1; i < count; ++i) {
    int file = open(names[i], O_RDONLY);
    struct stat status;
    uint64_t header = 0;
    if (file < 0 || fstat(file, &status) != 0 || pread(file, &header, 8, 0) != 8) return 1;
    uint64_t bytes = (uint64_t)status.st_size - 8 - header;
    uint64_t half = bytes / kThreads / kPiece * kPiece;
    char* memory = malloc(bytes);
    struct part parts[kThreads] = {{file, memory, 8 + header, half, 0},
                                   {file, memory + half, 8 + header + half, bytes - half, 0}};
    pthread_t threads[kThreads];
    for (int k = 0; k < kThreads; ++k) pthread_create(&threads[k], NULL, read_part, &parts[k]);
    for (int k = 0; k < kThreads; ++k) {
      pthread_join(threads[k], NULL);
      sum += parts[k].sum;
    }
  }
  printf("%llu\n", (unsigned long long)sum);
  return 0;
}
