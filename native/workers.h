// The threads that operations share.

#ifndef UNDISTILL_WORKERS_H_
#define UNDISTILL_WORKERS_H_

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>

namespace undistill {

// Each loop is compiled several times, and the one that suits the processor is taken when the module is loaded. That a comparison
// might trap, or a root set an error, would keep some from being vectors' loops.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_EACH_PROCESSOR __attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3", "no-trapping-math", "no-math-errno")))
#else
#define FOR_EACH_PROCESSOR
#endif

// Tells the processor that a loop waits.
inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits for as long as it may take to wake a thread, or until it holds; after a moment, others go first.
template <typename Condition>
bool Soon(Condition holds) {
  for (int i = 0; i < 2000; i++) {
    if (holds()) return true;
    if (i < 500)
      Pause();
    else
      std::this_thread::yield();
  }
  return holds();
}

// Some parts of a job, one after the other: who they are meant for takes the first that is left, and others the last.
class alignas(64) Share {
 public:
  // Nobody takes any meanwhile.
  void Set(int64_t begin, int64_t end) { left_ = {static_cast<int32_t>(begin), static_cast<int32_t>(end)}; }

  int64_t First() {
    return Take([](Range& left) { return left.begin++; });
  }
  int64_t Last() {
    return Take([](Range& left) { return --left.end; });
  }

  static constexpr int64_t kNone = -1;

 private:
  struct Range {
    int32_t begin, end;
  };

  template <typename Choose>
  int64_t Take(Choose choose) {
    for (Range seen = left_;;) {
      if (seen.begin >= seen.end) return kNone;
      Range left = seen;
      const int64_t taken = choose(left);
      if (left_.compare_exchange_weak(seen, left)) return taken;
    }
  }

  std::atomic<Range> left_{};
};

constexpr int kMostThreads = 512;

// How many threads share an operation, from the next one on: at first as many as one of TensorFlow's own has.
inline std::atomic<int>& Threads() {
  static std::atomic<int> threads{[] {
    const char* wanted = std::getenv("TF_NUM_INTRAOP_THREADS");
    const int given = wanted == nullptr ? 0 : std::atoi(wanted);
    return std::clamp<int>(given > 0 ? given : std::thread::hardware_concurrency(), 1, kMostThreads);
  }()};
  return threads;
}

// Runs the parts of one job at a time, in this thread and in some of its own. Of each job a thread has the same share, as far as it is
// in time: what it wrote is in its cache, and other processors' caches may be far from it.
class Pool {
 public:
  // Calls part(0) to part(count - 1), each once, in any order.
  void Run(int64_t count, const std::function<void(int64_t)>& part) {
    const int64_t threads = Threads();
    if (count <= 1 || threads == 1) {
      for (int64_t i = 0; i < count; i++) part(i);
      return;
    }
    // Operations at the same time would take each other's place in the cache.
    std::lock_guard<std::mutex> turn(turn_);
    // They are made within an operation, where TensorFlow has told the processor to take numbers too small to be normal for zero:
    // threads made there do so as well.
    for (; made_ < threads; made_++) std::thread([this, me = made_] { Serve(me); }).detach();
    bool more;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      part_ = &part;
      more = threads > threads_;
      threads_ = threads;
      for (int64_t i = 0; i < threads; i++) shares_[i].Set(count * i / threads, count * (i + 1) / threads);
      job_++;
    }
    wake_.notify_all();
    if (more) more_.notify_all();
    Work(part, 0, threads);
    {
      // Who comes too late for this job finds none.
      std::lock_guard<std::mutex> lock(mutex_);
      part_ = nullptr;
    }
    if (Soon([this] { return working_ == 0; })) return;
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return working_ == 0; });
  }

 private:
  void Work(const std::function<void(int64_t)>& part, int64_t me, int64_t threads) {
    for (int64_t i; (i = shares_[me].First()) != Share::kNone;) part(i);
    for (int64_t other = me + 1; other < me + threads; other++)
      for (int64_t i; (i = shares_[other % threads].Last()) != Share::kNone;) part(i);
  }

  void Serve(int64_t me) {
    bool shares = true;
    for (uint64_t seen = 0;;) {
      if (shares) Soon([&] { return job_ != seen; });
      std::unique_lock<std::mutex> lock(mutex_);
      // Who has no share sleeps until jobs have more: to look at each would take the core from somebody who has.
      for (;;) {
        shares = me < threads_;
        if (shares && job_ != seen) break;
        (shares ? wake_ : more_).wait(lock);
      }
      seen = job_;
      if (part_ == nullptr) continue;
      const auto* part = part_;
      const int64_t threads = threads_;
      working_++;
      lock.unlock();
      Work(*part, me, threads);
      lock.lock();
      if (--working_ == 0) done_.notify_all();
    }
  }

  std::mutex turn_, mutex_;
  std::condition_variable wake_, more_, done_;
  // This one, and those that serve.
  int64_t made_ = 1;
  // Of the job at hand; written with the mutex held.
  const std::function<void(int64_t)>* part_ = nullptr;
  int64_t threads_ = 1;
  std::array<Share, kMostThreads> shares_;
  std::atomic<uint64_t> job_{0};
  std::atomic<int> working_{0};
};

// Never destroyed: its threads live as long as the process.
inline Pool& Workers() {
  static Pool* pool = new Pool;
  return *pool;
}

// For blocks of n numbers: where they begin, and how many they are.
inline void ForEachBlock(int64_t n, const std::function<void(int64_t begin, int64_t count)>& body) {
  constexpr int64_t block = 1 << 15;
  Workers().Run((n + block - 1) / block, [&](int64_t i) { body(i * block, std::min(block, n - i * block)); });
}

}  // namespace undistill

#endif  // UNDISTILL_WORKERS_H_
