// Memory that operations use on the way.

#ifndef UNDISTILL_WORKSPACE_H_
#define UNDISTILL_WORKSPACE_H_

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <new>
#include <thread>
#include <tuple>
#include <vector>

namespace undistill {

// Memory for a part of an operation, aligned to a line of the cache. What is given back keeps its pages for the next part:
// one of the same thread, whose cache may still hold it, unless it is far too large; else the smallest that is large enough.
class Workspace {
 public:
  explicit Workspace(int64_t floats) : buffer_(Take(floats)) {}
  ~Workspace() {
#if defined(__SANITIZE_ADDRESS__)
    // Each is of the size that is asked for, so that what reads beyond it is found.
    ::operator delete(buffer_.data, kLine);
    return;
#endif
    std::lock_guard<std::mutex> turn(Idle().turn);
    Idle().buffers.push_back(buffer_);
  }
  Workspace(const Workspace&) = delete;

  float* Data() const { return buffer_.data; }

 private:
  struct Buffer {
    float* data;
    int64_t floats;
    std::thread::id user;
  };
  struct Buffers {
    std::mutex turn;
    std::vector<Buffer> buffers;
  };
  // Threads may outlive what is destroyed when the process ends.
  static Buffers& Idle() {
    static auto* idle = new Buffers;
    return *idle;
  }

  static Buffer Take(int64_t floats) {
    std::lock_guard<std::mutex> turn(Idle().turn);
    auto& idle = Idle().buffers;
    const auto me = std::this_thread::get_id();
    const auto rank = [&](const Buffer& each) {
      return std::make_tuple(each.floats < floats, each.user != me || each.floats > 4 * floats, each.floats);
    };
    const auto best = std::min_element(idle.begin(), idle.end(),
                                       [&](const Buffer& a, const Buffer& b) { return rank(a) < rank(b); });
    Buffer taken{};
    if (best != idle.end()) {
      taken = *best;
      idle.erase(best);
    }
    if (taken.floats < floats) {
      // In place of one that is too small: there are never more than were in use at once.
      ::operator delete(taken.data, kLine);
      taken = {static_cast<float*>(::operator new(floats * sizeof(float), kLine)), floats, me};
    }
    taken.user = me;
    return taken;
  }

  static constexpr std::align_val_t kLine{64};
  Buffer buffer_;
};

}  // namespace undistill

#endif  // UNDISTILL_WORKSPACE_H_
