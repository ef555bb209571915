// Compiled by clang with -fxray-instrument: sleds, and its run-time library, which patches them.
#include <xray/xray_interface.h>

#include "return_cost_work.hpp"

#define NEVER [[clang::xray_never_instrument]]

[[clang::xray_always_instrument]] RETURN_COST_WORK(xray_work)

    namespace {
    NEVER void does_nothing(std::int32_t, XRayEntryType) {}
    NEVER void records(std::int32_t function, XRayEntryType type) {
        ring_by_hand.add(type == XRayEntryType::ENTRY ? 1 : 2, static_cast<std::uint64_t>(function),
                         0);
    }
    NEVER bool attach(bool whether_records) {
        if (__xray_set_handler(whether_records ? records : does_nothing) == 0) return false;
        return __xray_patch() == XRayPatchingStatus::SUCCESS;
    }
    NEVER void detach() {
        __xray_unpatch();
        __xray_remove_handler();
    }
}  // namespace

extern const compiler_hooks xray{xray_work, attach, detach};
